"""Seeds of candidates that a model sampled: columns ``seed_chosen`` and ``seed_rejected``, or ``seed`` of single ones.

A seed stands for a noise only together with the sampler that it was given to. So it says nothing about how good a
candidate is, and is no score.
"""

from __future__ import annotations

from diffalign.data.records.pair import Pair

SEED = "seed"


def seed_of(pair: Pair, role: str) -> int | None:
    """Returns the seed that the candidate with this role was sampled with; None where the row does not state one."""
    value = pair.scores.get(role, {}).get(SEED)
    if value is None and pair.rejected is None:
        value = pair.scores.get("pair", {}).get(SEED)
    return int(value) if value is not None and value >= 0 and value == int(value) else None

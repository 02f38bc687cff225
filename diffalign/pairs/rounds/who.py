"""Who answers in a round, and who is the reference: entries of the pool of the policy's states.

Entry n is the policy at the beginning of round n; entry 0 is the initial model. The two are chosen apart: all iterative
methods sample from the policy as it is, some against the initial model, others against the policy that answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from diffalign.pairs.checkpoint_pool import SELECTIONS

SAMPLERS: Mapping[str, Callable[[int, int], int]] = {
    "policy": SELECTIONS["latest"],
    "initial": SELECTIONS["initial"],
    "random": SELECTIONS["uniform"],
}
"""``(round, run seed) -> entry``: the policy at the round's beginning, the initial model, or any of its states."""

INITIAL, PREVIOUS, ANSWERER = "initial", "previous", "answerer"
REFERENCES = (INITIAL, PREVIOUS, ANSWERER)
"""The model that training began with, the policy at the round's beginning, or the (first) one who answered."""


def sampler_entries(
    samplers: Sequence[str], answers: int, further: Mapping[str, str], number: int, seed: int
) -> dict[str, int]:
    """Returns the entry that gives each sample of a prompt, by its name.

    Args:
        samplers: They take turns in giving the answers that are judged, which have the names "0", "1", ...
        answers: How many of these there are.
        further: By the role of a further sample its sampler.
        number: The round.
        seed: The run's seed.
    """
    answers_by = {str(k): samplers[k % len(samplers)] for k in range(answers)}
    return {name: SAMPLERS[sampler](number, seed) for name, sampler in {**answers_by, **further}.items()}


def reference_entry(reference: str, samplers: Sequence[str], number: int, seed: int) -> int | None:
    """Returns the entry that is the reference of a round; None: the model that training began with."""
    if reference == INITIAL:
        return None
    return number if reference == PREVIOUS else SAMPLERS[samplers[0]](number, seed)

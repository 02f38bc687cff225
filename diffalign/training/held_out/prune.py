"""What a run needs of its rows: further answers that no term of its loss reads are left out, so that nobody pays for
them; and held-out rows are brought into the form of the training pairs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import islice

from diffalign.data.records.lazy import map_pairs
from diffalign.data.records.pair import Pair
from diffalign.pairs import DatasetPairs, PairSource
from diffalign.training.held_out.evaluate import HeldOut

LOOK = 256
"""So many rows are looked at to see whether there is anything to leave out."""
SHAPING = ("dataset", "lists", "drafts", "rationales")
"""Sources that give each row another form, held-out ones too; the others choose among rows, or bring candidates."""


def drop_unused_answers(pairs: Sequence[Pair], roles: Collection[str]) -> Sequence[Pair]:
    """The rows with those further answers alone that are ranks of a list or among ``roles``."""

    def kept(role: str) -> bool:
        return role.isdigit() or role in roles

    if all(kept(role) for pair in islice(pairs, LOOK) for role in pair.further):
        return pairs
    return map_pairs(
        pairs, lambda pair: replace(pair, further={r: answer for r, answer in pair.further.items() if kept(r)})
    )


def like_training_pairs(held_out: HeldOut, name: str, source: Callable[[DatasetPairs], PairSource]) -> HeldOut:
    """Held-out rows as the training's source of pairs shapes its own.

    Args:
        held_out: The rows.
        name: The source's.
        source: It, with its settings.
    """
    if name not in SHAPING or any(pair.rejected is None for pair in held_out.pairs):
        return held_out
    return HeldOut(source(DatasetPairs(held_out.pairs, name="data.eval")).pairs)

"""Shapes rows for a run: drops further answers that no loss term reads, and gives held-out rows the training's form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import islice

from diffalign.data.records.lazy_pairs import map_pairs
from diffalign.data.records.pair import Pair
from diffalign.pairs import DatasetPairs, PairSource
from diffalign.training.held_out.evaluate import HeldOut

PROBED_ROWS = 256
"""Number of rows that are read to see whether there is anything to leave out."""
RESHAPING_SOURCES = ("dataset", "lists", "drafts", "rationales")
"""Sources that give each row another form, held-out ones too; the others choose among rows, or bring candidates."""


def drop_unused_answers(pairs: Sequence[Pair], roles: Collection[str]) -> Sequence[Pair]:
    """Returns the rows with only those further answers that are ranks of a list or among ``roles``."""

    def is_used(role: str) -> bool:
        return role.isdigit() or role in roles

    if all(is_used(role) for pair in islice(pairs, PROBED_ROWS) for role in pair.further):
        return pairs
    return map_pairs(
        pairs, lambda pair: replace(pair, further={r: answer for r, answer in pair.further.items() if is_used(r)})
    )


def like_training_pairs(held_out: HeldOut, name: str, source: Callable[[DatasetPairs], PairSource]) -> HeldOut:
    """Returns held-out rows in the form that the training's source gives its own.

    Args:
        held_out: The rows.
        name: Name of the source.
        source: The source, with its settings.
    """
    if name not in RESHAPING_SOURCES or any(pair.rejected is None for pair in held_out.pairs):
        return held_out
    return HeldOut(source(DatasetPairs(held_out.pairs, name="data.eval")).pairs)

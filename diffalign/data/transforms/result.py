"""What a transform gives: lines to be written, rows left out, and what there is to tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from diffalign.data.readers.rows_with_columns import PairRow
from diffalign.data.records.pair import Dropped


@dataclass
class TransformResult:
    """A transform's result. Lines may be made one by one, so the rest is complete when they have been taken.

    Args:
        lines: The rows, in order.
        dropped: The rows left out, each with its reason.
        notes: Sentences for the user.
    """

    lines: Iterable[PairRow]
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def reasons(self) -> str:
        """``"2 tie, 1 no user"``; empty where nothing was dropped."""
        return count_reasons(self.dropped)


def count_reasons(dropped: Iterable[Dropped]) -> str:
    """How many rows were left out for which reason, the most frequent first."""
    return ", ".join(f"{n:,} {why}" for why, n in Counter(row.reason for row in dropped).most_common())

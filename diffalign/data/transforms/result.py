"""The result of a transform: the rows to write, the rows left out, and notes for the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import Dropped


@dataclass
class TransformResult:
    """A transform's result. ``rows`` may be lazy; ``dropped`` is complete after they have been read.

    Args:
        rows: The rows, in order.
        dropped: The rows left out, each with its reason.
        notes: Sentences for the user.
    """

    rows: Iterable[PairRow]
    dropped: list[Dropped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def reasons(self) -> str:
        """Returns the reasons as ``"2 tie, 1 no user"``; empty where nothing was dropped."""
        return count_reasons(self.dropped)


def count_reasons(dropped: Iterable[Dropped]) -> str:
    """Counts the rows left out by reason, the most frequent first: ``"2 tie, 1 no user"``."""
    return ", ".join(f"{n:,} {why}" for why, n in Counter(row.reason for row in dropped).most_common())

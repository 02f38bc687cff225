"""Pairs from a data set: read once, fixed for the whole run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from diffalign.data.records import Dropped, Pair
from diffalign.errors import DataError


@dataclass(frozen=True)
class DatasetPairs:
    """A fixed list of comparisons, and what was left out of it.

    Args:
        pairs: What is trained on. Ids are unique: draws and caches are keyed by them.
        dropped: Rows that are not trained on, each with its reason.
        name: Where they came from, for the header.
    """

    pairs: tuple[Pair, ...]
    dropped: tuple[Dropped, ...] = ()
    name: str = "pairs in memory"

    def __post_init__(self) -> None:
        if not self.pairs:
            raise DataError(f"{self.name}: no pair is left to train on{_reasons(self.dropped)}.")
        twice = [key for key, count in Counter(pair.id for pair in self.pairs).items() if count > 1]
        if twice:
            raise DataError(
                f"{self.name}: {len(twice)} pair ids occur more than once, the first is '{twice[0]}'. "
                "Noise and caches are keyed by the id, so each pair needs its own."
            )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Pair:
        return self.pairs[index]

    def summary(self) -> str:
        """One line: how many pairs, how many prompts, what was dropped and why."""
        prompts = len({pair.prompt for pair in self.pairs})
        return f"{len(self.pairs)} pairs on {prompts} prompts from {self.name}{_reasons(self.dropped)}"


def from_memory(pairs: Iterable[Pair]) -> DatasetPairs:
    """Pairs that are already records."""
    return DatasetPairs(tuple(pairs))


def _reasons(dropped: Iterable[Dropped]) -> str:
    counts = Counter(row.reason for row in dropped)
    told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return f"; dropped: {told}" if told else ""


def read_dataset(path: str, *, format: str = "auto", limit: int | None = None, **options: Any) -> DatasetPairs:
    """Reads a folder, a file or a Hub id in any known format."""
    from diffalign.data.readers import read_pairs

    found = read_pairs(path, format=format, limit=limit, **options)
    return DatasetPairs(tuple(found.pairs), tuple(found.dropped), f"{path} ({found.format})")

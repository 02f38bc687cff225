"""Pairs from a data set: read once, fixed for the whole run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from diffalign.data.records.lazy import map_pairs
from diffalign.data.records.memmap import collect
from diffalign.data.records.pair import Dropped, Pair, pairs_noun
from diffalign.data.storage.hash_set import HashSet
from diffalign.errors import DataError
from diffalign.pairs.source import Fixed, PairSource


@dataclass(frozen=True)
class DatasetPairs(Fixed):
    """Fixed rows, and what was left out of them. A row is a comparison, or a single example.

    Args:
        pairs: What is trained on, perhaps a lazy sequence: it is looked through and never copied. Ids are unique: draws
            and caches are keyed by them.
        dropped: Rows that are not trained on, each with its reason.
        name: Where they came from, for the header.
        ranges: Smallest and largest score of the data by scorer; labels that normalise rewards need them.
    """

    pairs: Sequence[Pair]
    dropped: tuple[Dropped, ...] = ()
    name: str = "pairs in memory"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.pairs:
            raise DataError(f"{self.name}: no pair is left to train on{reasons(self.dropped)}.")
        seen = HashSet()
        twice = list(dict.fromkeys(pair.id for pair in self.pairs if not seen.add(pair.id)))
        if twice:
            raise DataError(
                f"{self.name}: {len(twice)} pair ids occur more than once, the first is '{twice[0]}'. "
                "Noise and caches are keyed by the id, so each pair needs its own."
            )

    def __getitem__(self, index: int) -> Pair:
        return self.pairs[index]

    def summary(self) -> str:
        """One line: how many pairs, how many prompts, what was dropped and why."""
        what = pairs_noun(self.pairs)
        return f"{len(self)} {what} on {prompts(self.pairs)} prompts from {self.name}{reasons(self.dropped)}"


def dataset(data: DatasetPairs) -> PairSource:
    """The data set's own comparisons, ``pairs: dataset``: of a ranked list the best candidate against the worst.

    Raises:
        DataError: There are winners alone among them; a comparison needs both candidates.
    """
    alone = [pair.id for pair in data.pairs if pair.rejected is None]
    if not alone:
        ranked = any(role.isdigit() for pair in data.pairs for role in pair.further)
        return replace(data, pairs=map_pairs(data.pairs, best_and_worst)) if ranked else data
    what = f"{data.name}: {len(alone)} of {len(data)} rows have no rejected candidate, the first is '{alone[0]}'; "
    if not all(pair.desirable for pair in data.pairs):
        raise DataError(
            f"{what}'pairs: dataset' compares two. These are answers judged one by one: train with a loss for single "
            "examples (--set pairs=singles --set loss=kto), or on the good ones alone (--set pairs=winners --set "
            "loss=sft)."
        )
    raise DataError(
        f"{what}'pairs: dataset' compares two. These are winners alone. Train on them as they are, with a loss for "
        "single examples (--set pairs=winners --set loss=sft), or against samples of an earlier checkpoint "
        "(--set pairs=checkpoint)."
    )


def best_and_worst(pair: Pair) -> Pair:
    """The pair without the candidates that a ranked list has between its best and its worst."""
    return replace(pair, further={role: answer for role, answer in pair.further.items() if not role.isdigit()})


def from_memory(pairs: Iterable[Pair]) -> DatasetPairs:
    """Pairs that are already records. A sequence is taken as it is; what comes one by one is kept on the disk where it
    is much."""
    return DatasetPairs(pairs if isinstance(pairs, Sequence) else collect(pairs))


def prompts(pairs: Iterable[Pair]) -> int:
    """How many distinct prompts there are."""
    seen = HashSet()
    for pair in pairs:
        seen.add(str(pair.prompt))
    return len(seen)


def reasons(dropped: Iterable[Dropped]) -> str:
    """``"; dropped: 2 tie, 1 unreadable row"``, or nothing."""
    counts = Counter(row.reason for row in dropped)
    told = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return f"; dropped: {told}" if told else ""


def read_dataset(
    path: str, *, format: str = "auto", limit: int | None = None, scores: Sequence[str] = (), **options: Any
) -> DatasetPairs:
    """Reads a folder, a file or a Hub id in any known format. Rows without a rejected candidate are read too.

    Args:
        path: What to read.
        format: The format's name.
        limit: Take the first so many.
        scores: Files that `diffalign score` wrote for these pairs.
        options: Of the format.
    """
    from diffalign.data.readers import read_pairs
    from diffalign.data.records.score_table import read_scores, with_scores

    found = read_pairs(path, format=format, limit=limit, **options)
    if scores:
        found = with_scores(found, [read_scores(file) for file in scores])
    return DatasetPairs(found.pairs, tuple(found.dropped), f"{path} ({found.format})", found.ranges)

"""Pairs of a dataset: read once, fixed for the whole run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from diffalign.data.records.conversation import Conversation
from diffalign.data.records.label_agreement import find_disagreement
from diffalign.data.records.lazy_pairs import map_pairs
from diffalign.data.records.memmap import collect
from diffalign.data.records.pair import Dropped, Pair, PairSet, pairs_noun
from diffalign.data.storage.hash_set import HashSet
from diffalign.errors import DataError
from diffalign.files.json_lines import refuse_half_pairs
from diffalign.pairs.prompt_rows import read_prompt_rows
from diffalign.pairs.source import FixedPairs, PairSource


@dataclass(frozen=True)
class DatasetPairs(FixedPairs):
    """Rows of a dataset, and the rows that were left out. A row is a comparison, or a single example.

    Args:
        pairs: The rows to train on, possibly a lazy sequence, which is never copied. Ids are unique, because random
            draws and caches are keyed by them.
        dropped: Rows that are not trained on, each with its reason.
        name: Where the rows came from, for the header.
        ranges: Smallest and largest score of the data by scorer; labels that normalise rewards need them.
        notes: What the header adds on how the rows were read.
    """

    pairs: Sequence[Pair]
    dropped: tuple[Dropped, ...] = ()
    name: str = "pairs in memory"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.pairs:
            raise DataError(f"{self.name}: no pair is left to train on{describe_dropped(self.dropped)}.")
        ids = HashSet()
        repeated = list(dict.fromkeys(pair.id for pair in self.pairs if not ids.add(pair.id)))
        if repeated:
            raise DataError(
                f"{self.name}: {len(repeated)} pair ids occur more than once, the first is '{repeated[0]}'. "
                "Noise and caches are keyed by the id, so each pair needs its own."
            )

    def __getitem__(self, index: int) -> Pair:
        return self.pairs[index]

    def summary(self) -> str:
        """Returns one line: how many pairs, how many prompts, what was dropped and why."""
        count = f"{len(self)} {pairs_noun(self.pairs)} on {count_prompts(self.pairs)} prompts"
        return f"{count} from {self.origin}"

    @property
    def origin(self) -> str:
        """Where the rows came from, what was dropped, and how they were read, for the header."""
        return "; ".join([f"{self.name}{describe_dropped(self.dropped)}", *self.notes])


def dataset(data: DatasetPairs) -> PairSource:
    """``pairs: dataset``: the comparisons of a dataset; of a ranked list the best candidate against the worst.

    Raises:
        DataError: A row has only one candidate; a comparison needs both.
    """
    single_ids = [pair.id for pair in data.pairs if pair.rejected is None]
    if not single_ids:
        ranked = any(role.isdigit() for pair in data.pairs for role in pair.further)
        return replace(data, pairs=map_pairs(data.pairs, without_middle_ranks)) if ranked else data
    problem = (
        f"{data.name}: {len(single_ids)} of {len(data)} rows have no rejected candidate, the first is "
        f"'{single_ids[0]}'; "
    )
    if not all(pair.desirable for pair in data.pairs):
        raise DataError(
            f"{problem}'pairs: dataset' compares two. These are answers judged one by one: train with a loss for "
            "single examples (--set pairs=singles --set loss=kto), or only on the good ones (--set pairs=winners "
            "--set loss=sft)."
        )
    raise DataError(
        f"{problem}'pairs: dataset' compares two. These are only winners. Train on them as they are, with a loss for "
        "single examples (--set pairs=winners --set loss=sft), or against samples of an earlier checkpoint "
        "(--set pairs=checkpoint)."
    )


def without_middle_ranks(pair: Pair) -> Pair:
    """Returns the pair without the candidates that a ranked list has between its best and its worst."""
    return replace(pair, further={role: answer for role, answer in pair.further.items() if not role.isdigit()})


def from_memory(pairs: Iterable[Pair]) -> DatasetPairs:
    """Returns a dataset of records. A sequence is used as it is; large iterables are kept on disk.

    Raises:
        DataError: A text holds half a surrogate pair, which no tokenizer takes.
    """
    kept = pairs if isinstance(pairs, Sequence) else collect(pairs)
    for pair in kept:
        try:
            for text in (pair.prompt, *(answer.candidate for answer in pair.answers.values())):
                if isinstance(text, (str, Conversation)):
                    refuse_half_pairs(str(text))
        except ValueError as error:
            raise DataError(f"pair {ascii(pair.id)} cannot be trained on: {error}.") from error
    return DatasetPairs(kept)


def count_prompts(pairs: Iterable[Pair]) -> int:
    """Returns the number of distinct prompts."""
    prompts = HashSet()
    for pair in pairs:
        prompts.add(str(pair.prompt))
    return len(prompts)


def describe_dropped(dropped: Iterable[Dropped]) -> str:
    """Returns ``"; dropped: 2 tie, 1 unreadable row"``, or an empty string."""
    counts = Counter(row.reason for row in dropped)
    reasons = ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
    return f"; dropped: {reasons}" if reasons else ""


def read_dataset(
    path: str,
    *,
    format: str = "auto",
    limit: int | None = None,
    scores: Sequence[str] = (),
    latents: str | None = None,
    **options: Any,
) -> DatasetPairs:
    """Reads a folder, a file or a Hub id in any supported format. Rows without a rejected candidate are read too.

    Args:
        path: What to read; ``@FILE`` or ``@suite:NAME:FILE`` are prompts alone.
        format: The format's name.
        limit: Read only this number of rows.
        scores: Files that `diffalign score` wrote for these pairs.
        latents: A file of kept latents, which take the place of the images.
        options: Options of the format.
    """
    if path.startswith("@"):
        return DatasetPairs(read_prompt_rows(path, limit), name=f"{path} (prompts)")
    from diffalign.data.readers import read_pairs
    from diffalign.data.records.score_table import read_scores, with_scores
    from diffalign.data.records.with_latents import describe_latents, unused_latents, with_latents

    result = read_pairs(path, format=format, limit=limit, **options)
    notes = [*_notes(result)]
    if latents is not None:
        result = with_latents(result, latents)
    notes.append(unused_latents(path) if latents is None else describe_latents(result, latents))
    if scores:
        result = with_scores(result, [read_scores(file) for file in scores])
    return DatasetPairs(
        result.pairs, tuple(result.dropped), f"{path} ({result.format})", result.ranges, tuple(filter(None, notes))
    )


def _notes(dataset: PairSet) -> Iterator[str]:
    """Yields what a reader of the header has to know: what was not read, and labels that the data's scores dispute."""
    if dataset.unread:
        yield f"not read: {', '.join(dataset.unread)}"
    for name, found in find_disagreement(dataset.pairs).items():
        counts = {"are equal": len(found.equal), "favour the rejected one": len(found.against)}
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        yield f"labels against {name}: {', '.join(parts)}"

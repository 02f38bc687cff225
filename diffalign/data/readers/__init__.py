"""Readers of the published formats: each converts tables to pairs and dropped rows, and :func:`read_pairs` selects one.

To add a format, write one file with one function and add one entry to ``READERS`` in the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.medium_of import medium_of
from diffalign.data.media.find_problem import find_problem
from diffalign.data.readers.column_use import ColumnUse
from diffalign.data.readers.detect_format import check_format, detect_format
from diffalign.data.readers.noted_table import NotedTable
from diffalign.data.readers.registry import READERS, Reader, register_reader
from diffalign.data.readers.sources import Columns, open_tables
from diffalign.data.records.label_agreement import drop_disputed
from diffalign.data.records.memmap import collect
from diffalign.data.records.pair import BAD_CLIP, BAD_IMAGE, TIE, Dropped, Pair, PairSet
from diffalign.data.records.score_table import ranges_of
from diffalign.errors import DataError, near_miss

__all__ = ["READERS", "Reader", "read_pairs", "recognise", "register_reader"]


def read_pairs(
    source: str | Path,
    format: str = "auto",
    limit: int | None = None,
    *,
    split: str = "train",
    revision: str | None = None,
    columns: Columns | None = None,
    ignore: Sequence[str] | str = (),
    agree_with: str | None = None,
    bad_images: Literal["error", "drop"] = "error",
    frames: FrameRule | None = None,
    **options: Any,
) -> PairSet:
    """Reads a data set of comparisons. Images and videos stay on disk; so do texts where there are many.

    Args:
        source: A table file, a folder, or a Hub id (``"owner/name"``).
        format: A name of ``READERS``, or ``"auto"`` to detect it by the columns.
        limit: Stop after this many pairs (dropped rows do not count).
        split: The split to read where files are named after splits.
        revision: Commit or tag of a Hub data set.
        columns: ``{expected name: name in the file}`` for columns with another name; a list of names stands for their
            texts, joined by an empty line.
        ignore: Columns and fields of messages to leave out on purpose, which would change what a row means.
        agree_with: A stored score, such as ``"score"``: pairs whose scores of this name are equal, or favour the other
            candidate than the label, are dropped.
        bad_images: ``"drop"`` decodes every image and clip now and leaves out rows with one that cannot be; with
            ``"error"`` a run stops at it.
        frames: Which frames of clips will be taken: with ``bad_images="drop"`` rows with a clip that is too short for
            it are left out too.
        options: Options of the format (see its ``read`` function).

    Raises:
        DataError: The source does not exist, lacks a column, or has no pair to train on; a column that changes what a
            row means is not read; or an option is unknown.
    """
    if format != "auto" and format not in READERS:
        raise DataError(
            f"there is no format '{format}'.{near_miss(format, READERS)} Formats: auto, {', '.join(READERS)}."
        )
    if limit is not None and limit < 1:
        raise DataError(f"limit is the number of pairs to read, at least 1; got {limit}.")
    if bad_images not in ("error", "drop"):
        raise DataError(f"bad_images is error or drop, for rows with unreadable images or clips; got {bad_images!r}.")
    if not isinstance(frames, FrameRule | None):
        raise DataError(f"frames is a rule of the library, which recipes set by model.clip; got {frames!r}.")
    use = ColumnUse(_names_to_ignore(ignore))
    opened = open_tables(source, split=split, revision=revision, columns=columns)
    tables = [NotedTable.of(table, use) for table in opened]
    use.refuse_misspelt([name for table in opened for name in table.columns] if use.ignore else [])
    name = detect_format(tables) if format == "auto" else format
    reader = READERS[name]
    check_format(tables[0], reader)
    for option in options:
        if option not in reader.options():
            names = ", ".join(reader.options())
            raise DataError(
                f"the format {name} has no option '{option}'.{near_miss(option, reader.options())} It has: {names}."
            )
    dropped: list[Dropped] = []
    records = reader.read(tables, **options)
    if agree_with is not None:
        records = drop_disputed(records, agree_with, str(source))
    if bad_images == "drop":
        records = map(partial(_drop_bad_images, frames=frames), records)
    pairs = collect(islice(_split_off_dropped(records, dropped), limit))
    dataset = PairSet(pairs, dropped, name, str(source), ranges_of(pairs), tuple(use.unread()))
    if not pairs:
        raise _no_pairs_error(dataset)
    use.refuse_loss(str(source), name, tables[0].name_in_file)
    return dataset


def _names_to_ignore(ignore: Any) -> frozenset[str]:
    names = [ignore] if isinstance(ignore, str) else ignore
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise DataError(f"ignore is the name of a column or a list of names, such as [tools, images]; got {ignore!r}.")
    return frozenset(names)


def _drop_bad_images(record: Pair | Dropped, frames: FrameRule | None) -> Pair | Dropped:
    if isinstance(record, Dropped):
        return record
    for answer in record.answers.values():
        if problem := find_problem(answer.candidate, frames):
            is_clip = frames is not None or medium_of(answer.candidate) == "video"
            return Dropped(record.source, BAD_CLIP if is_clip else BAD_IMAGE, problem)
    return record


def _split_off_dropped(records: Iterable[Pair | Dropped], dropped: list[Dropped]) -> Iterator[Pair]:
    for record in records:
        if isinstance(record, Pair):
            yield record
        else:
            dropped.append(record)


def _no_pairs_error(dataset: PairSet) -> DataError:
    if not dataset.dropped:
        return DataError(f"'{dataset.source}' holds no rows: there is nothing to train on.")
    count = f"all {len(dataset.dropped):,} rows"
    if set(dataset.reasons()) == {TIE}:
        return DataError(
            f"{count} of '{dataset.source}' are ties, which have no preference. "
            "Expected pairs with a winner; check that the label column is the one you meant."
        )
    reasons = ", ".join(f"{n:,} {reason}" for reason, n in dataset.reasons().items())
    first = dataset.dropped[0]
    detail = f" ({first.detail})" if first.detail else ""
    return DataError(
        f"{count} of '{dataset.source}' were dropped: {reasons}. The first is {first.source}: {first.reason}{detail}."
    )

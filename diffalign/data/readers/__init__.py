"""Readers of the published formats: each converts tables to pairs and dropped rows, and :func:`read_pairs` selects one.

To add a format, write one file with one function and add one entry to ``READERS`` in the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from diffalign.data.readers.detect_format import check_format, detect_format
from diffalign.data.readers.registry import READERS, Reader
from diffalign.data.readers.sources import open_tables
from diffalign.data.records.memmap import collect
from diffalign.data.records.pair import TIE, Dropped, Pair, PairSet
from diffalign.data.records.score_table import ranges_of
from diffalign.errors import DataError, near_miss

__all__ = ["READERS", "Reader", "read_pairs", "recognise"]


def read_pairs(
    source: str | Path,
    format: str = "auto",
    limit: int | None = None,
    *,
    split: str = "train",
    revision: str | None = None,
    columns: Mapping[str, str] | None = None,
    **options: Any,
) -> PairSet:
    """Reads a data set of comparisons. Images and videos stay on disk; so do texts where there are many.

    Args:
        source: A table file, a folder, or a Hub id (``"owner/name"``).
        format: A name of ``READERS``, or ``"auto"`` to detect it by the columns.
        limit: Stop after this many pairs (dropped rows do not count).
        split: The split to read where files are named after splits.
        revision: Commit or tag of a Hub data set.
        columns: ``{expected name: name in the file}`` for columns with another name.
        options: Options of the format (see its ``read`` function).

    Raises:
        DataError: The source does not exist, lacks a column, or has no pair to train on; or an option is unknown.
    """
    if format != "auto" and format not in READERS:
        raise DataError(
            f"there is no format '{format}'.{near_miss(format, READERS)} Formats: auto, {', '.join(READERS)}."
        )
    if limit is not None and limit < 1:
        raise DataError(f"limit is the number of pairs to read, at least 1; got {limit}.")
    tables = open_tables(source, split=split, revision=revision, columns=columns)
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
    pairs = collect(islice(_split_off_dropped(reader.read(tables, **options), dropped), limit))
    dataset = PairSet(pairs, dropped, name, str(source), ranges_of(pairs))
    if not pairs:
        raise _no_pairs_error(dataset)
    return dataset


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

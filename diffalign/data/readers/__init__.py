"""Readers of the published formats: each turns tables into pairs and dropped rows, and this file picks one.

To add a format, write one file with one function and give it one row in ``READERS``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffalign.data.readers import captioned, pair_folder, pickapic, trl
from diffalign.data.readers.rows import require_columns
from diffalign.data.readers.sources import open_tables
from diffalign.data.readers.tables import Table
from diffalign.data.records import TIE, Dropped, Pair, PairSet
from diffalign.data.scores import ranges_of
from diffalign.errors import DataError, near_miss


@dataclass(frozen=True)
class Reader:
    """A format that can be read.

    Args:
        name: What users call it.
        read: ``read(tables, **options)``, yields a pair or a dropped row per row.
        required: The columns by which it is recognised.
        summary: One line for the documentation and the command line.
        aliases: ``{required column: other names that serve}``.
        unless: Columns beside which it is not recognised, only named: they say that the rows mean something else.
    """

    name: str
    read: Callable[..., Iterator[Pair | Dropped]]
    required: tuple[str, ...]
    summary: str
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unless: tuple[str, ...] = ()

    def needed(self, columns: Sequence[str]) -> list[str]:
        """The required columns, each by the name that ``columns`` has for it, by its first name where it is missing."""
        names = [(name, *self.aliases.get(name, ())) for name in self.required]
        return [next((name for name in served if name in columns), served[0]) for served in names]

    def options(self) -> list[str]:
        """Names of the options that ``read`` takes."""
        kinds = inspect.signature(self.read).parameters.values()
        return [parameter.name for parameter in kinds if parameter.kind is parameter.KEYWORD_ONLY]


_ROWS = (
    Reader(
        "pickapic", pickapic.read_pickapic, pickapic.REQUIRED, "Pick-a-Pic: two pictures as bytes, a caption and a vote"
    ),
    Reader(
        "pair_folder",
        pair_folder.read_pair_folder,
        pair_folder.REQUIRED,
        "files, and metadata that names two per prompt",
    ),
    Reader("trl", trl.read_trl, trl.REQUIRED, "TRL's prompt, chosen and rejected: texts, file names or bytes"),
    Reader(
        "captioned",
        captioned.read_captioned,
        captioned.REQUIRED,
        "winners alone: pictures with their prompts",
        captioned.ALIASES,
        captioned.UNLESS,
    ),
)
READERS: dict[str, Reader] = {row.name: row for row in _ROWS}


def recognise(tables: Sequence[Table] | str | Path) -> str:
    """The name of the format whose columns the first table has.

    Raises:
        DataError: No format fits; the message names the nearest one and what it misses.
    """
    if isinstance(tables, (str, Path)):
        tables = open_tables(tables)
    table = tables[0]
    needed = {name: reader.needed(table.columns) for name, reader in READERS.items()}
    found = {name: sum(column in table.columns for column in columns) for name, columns in needed.items()}
    for name, reader in READERS.items():
        if found[name] == len(reader.required):
            _refuse_doubtful(table, reader)
            return name
    if not table.columns:
        raise DataError(f"'{table.path}' is empty: it has no rows and no columns.")
    nearest = max(found, key=lambda name: found[name])
    try:
        require_columns(table.columns, needed[nearest], where=str(table.path), format=nearest)
    except DataError as error:
        formats = "; ".join(f"{name}: {', '.join(reader.required)}" for name, reader in READERS.items())
        raise DataError(f"{error} Formats that are recognised by their columns: {formats}.") from None
    raise AssertionError("a format with missing columns passed its own check")


def _refuse_doubtful(table: Table, reader: Reader) -> None:
    for column in reader.unless:
        if column in table.columns:
            raise DataError(
                f"'{table.path}' has the columns of the {reader.name} format ({reader.summary}) and also '{column}', "
                f"which may say that some rows are no such thing. Keep those that are, or say format {reader.name} if "
                "all are."
            )


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
    """Reads a data set of comparisons. Pictures and clips stay on disk.

    Args:
        source: A table file, a folder, or a Hub id (``"owner/name"``).
        format: A name of ``READERS``, or ``"auto"`` to go by the columns.
        limit: Stop after this many pairs (dropped rows do not count).
        split: The split to read where files are named after splits.
        revision: Commit or tag of a Hub data set.
        columns: ``{expected name: name in the file}`` for columns that go by another name.
        options: The format's own (see its ``read`` function).

    Raises:
        DataError: Nothing there, a missing column, an unknown option, or no pair left to train on.
    """
    if format != "auto" and format not in READERS:
        raise DataError(
            f"there is no format '{format}'.{near_miss(format, READERS)} Formats: auto, {', '.join(READERS)}."
        )
    if limit is not None and limit < 1:
        raise DataError(f"limit is the number of pairs to read, at least 1; got {limit}.")
    tables = open_tables(source, split=split, revision=revision, columns=columns)
    name = recognise(tables) if format == "auto" else format
    reader = READERS[name]
    for option in options:
        if option not in reader.options():
            known = ", ".join(reader.options())
            raise DataError(
                f"the format {name} has no option '{option}'.{near_miss(option, reader.options())} It has: {known}."
            )
    pairs: list[Pair] = []
    dropped: list[Dropped] = []
    for record in reader.read(tables, **options):
        if isinstance(record, Dropped):
            dropped.append(record)
            continue
        pairs.append(record)
        if len(pairs) == limit:
            break
    found = PairSet(pairs, dropped, name, str(source), ranges_of(pairs))
    if not pairs:
        raise _nothing_left(found)
    return found


def _nothing_left(found: PairSet) -> DataError:
    if not found.dropped:
        return DataError(f"'{found.source}' holds no rows: there is nothing to train on.")
    count = f"all {len(found.dropped):,} rows"
    if set(found.reasons()) == {TIE}:
        return DataError(
            f"{count} of '{found.source}' are ties: they say nothing about what is better. "
            "Expected pairs with a winner; check that the label column is the one you meant."
        )
    why = ", ".join(f"{n:,} {reason}" for reason, n in found.reasons().items())
    first = found.dropped[0]
    detail = f" ({first.detail})" if first.detail else ""
    return DataError(
        f"{count} of '{found.source}' were dropped: {why}. The first is {first.source}: {first.reason}{detail}."
    )

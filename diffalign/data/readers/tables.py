"""Tables: the rows of a data set, independent of the type of file. Formats depend on columns, not on files.

A column of encoded bytes is not read: its cells become `lazy_table_cell.TableCell` handles.
"""

from __future__ import annotations

import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from diffalign.data.storage.lazy_table_cell import (
    READ_ERRORS,
    TableCell,
    arrow_batches,
    arrow_table,
    one_line,
    refuse_damage,
)
from diffalign.errors import DataError
from diffalign.files.json_lines import parse_json, refuse_half_pairs

BINARY = (".parquet", ".arrow")
TEXT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
SUFFIXES = (*BINARY, *TEXT, *(f"{suffix}.gz" for suffix in TEXT))
FIRST_ROWS = 50
"""Text tables have no schema: their columns are those of this many first rows."""


def suffix_of(path: Path) -> str:
    """Returns a file's suffix; for a compressed file both, such as ``.jsonl.gz``."""
    return Path(path.stem).suffix + path.suffix if path.suffix == ".gz" else path.suffix


@dataclass(frozen=True)
class TableRow:
    """One row: its position ``file:n``, its values by column, and the problem where it could not be parsed."""

    source: str
    values: Mapping[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class Table:
    """A file of rows.

    Args:
        path: The file. Relative file names in its cells are relative to its folder.
        rename: ``{column in the file: the name that the format expects}``.
        joins: ``{the name that the format expects: columns whose texts it is made of}``; see `noted_table`.
    """

    path: Path
    rename: Mapping[str, str] = field(default_factory=dict)
    joins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The table's folder."""
        return self.path.parent

    def name_in_file(self, column: str) -> str:
        """Returns the name that a column has in the file."""
        return next((name for name, expected in self.rename.items() if expected == column), column)

    @property
    def _kind(self) -> str:
        return suffix_of(self.path).removesuffix(".gz")

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns' names, after renaming."""
        if self._kind in BINARY:
            names = list(self._schema().names)
        else:
            names = list(dict.fromkeys(name for row in islice(self._text(), FIRST_ROWS) for name in row.values))
        return tuple(self.rename.get(name, name) for name in names)

    def rows(self) -> Iterator[TableRow]:
        """Yields the rows in order. The source is ``file:n``: line n of a text file, from 1, or row n of a binary file,
        from 0.
        """
        rows = self._binary() if self._kind in BINARY else self._text()
        for row in rows:
            if self.rename:
                row = TableRow(row.source, {self.rename.get(k, k): v for k, v in row.values.items()}, row.problem)
            yield row

    def _schema(self) -> Any:
        import pyarrow.parquet as parquet

        try:
            if self.path.suffix == ".arrow":
                return arrow_table(self.path).schema
            return parquet.read_schema(self.path, memory_map=True)
        except READ_ERRORS as error:
            kind = self.path.suffix[1:]
            raise DataError(
                f"'{self.path}' is not a readable {kind} file: {one_line(error)}. Copy or download it again."
            ) from error

    def _binary(self) -> Iterator[TableRow]:
        schema = self._schema()
        handles = [column.name for column in schema if _holds_bytes(column.type)]
        read = [name for name in schema.names if name not in handles]
        file, number = str(self.path), 0
        for batch in self._batches(read, whole=not handles):
            for values, problem in _dicts(batch) if read else (({}, "") for _ in range(batch.num_rows)):
                values.update((name, TableCell(file, name, number)) for name in handles)
                yield TableRow(f"{self.path.name}:{number}", values, problem)
                number += 1

    def _batches(self, columns: list[str], whole: bool) -> Iterator[Any]:
        """Yields a few rows at a time, to limit memory. ``whole``: ``columns`` are all columns of the file.

        Raises:
            DataError: The file is damaged.
        """
        try:
            yield from self._damageable_batches(columns, whole)
        except READ_ERRORS as error:
            raise DataError(f"'{self.path}' is damaged: {one_line(error)}. Copy or download it again.") from error

    def _damageable_batches(self, columns: list[str], whole: bool) -> Iterator[Any]:
        if self.path.suffix == ".arrow":
            mapped = () if whole else arrow_table(self.path).select(columns).to_batches(max_chunksize=1024)
            yield from map(refuse_damage, arrow_batches(self.path) if whole else mapped)
            return
        import pyarrow.parquet as parquet

        with parquet.ParquetFile(self.path, buffer_size=2**20, pre_buffer=False) as file:
            yield from file.iter_batches(256, columns=columns, use_threads=False)

    def _text(self) -> Iterator[TableRow]:
        try:
            open_text = gzip.open if self.path.suffix == ".gz" else open
            with open_text(self.path, "rt", encoding="utf-8-sig", newline="") as lines:
                if self._kind in (".csv", ".tsv"):
                    yield from self._csv(lines)
                elif self._kind == ".json":
                    yield from self._json(lines)
                else:
                    yield from self._jsonl(lines)
        except UnicodeDecodeError as error:
            raise DataError(f"'{self.path}' is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"'{self.path}' cannot be read: {getattr(error, 'strerror', None) or error}.") from error

    def _jsonl(self, lines: Any) -> Iterator[TableRow]:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield self._row(number, line)

    def _row(self, number: int, line: str) -> TableRow:
        source = f"{self.path.name}:{number}"
        try:
            values = parse_json(line)
        except ValueError as error:
            return TableRow(source, {}, f"not JSON: {error}")
        return TableRow(source, values) if isinstance(values, dict) else TableRow(source, {}, "not a JSON object")

    def _json(self, lines: Any) -> Iterator[TableRow]:
        text = lines.read()
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"'{self.path}' is not JSON: {error}. With one object per line, name it .jsonl.") from error
        if isinstance(rows, dict):
            lists = [value for value in rows.values() if isinstance(value, list)]
            rows = lists[0] if len(lists) == 1 else None
        if not isinstance(rows, list):
            raise DataError(f"'{self.path}' must hold a list of objects, one per pair: [{{...}}, {{...}}].")
        for number, values in enumerate(rows, 1):
            is_object = isinstance(values, dict)
            problem = _half_pair_problem(values) if is_object else "not a JSON object"
            yield TableRow(f"{self.path.name}:{number}", {} if problem else values, problem)

    def _csv(self, lines: Any) -> Iterator[TableRow]:
        csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
        table = csv.DictReader(lines, delimiter="\t" if self._kind == ".tsv" else ",")
        try:
            table.fieldnames = self._checked_header(table.fieldnames or ())
            for values in table:
                problem = "more cells than columns: a comma in the text needs quotes" if None in values else ""
                if any(value is None for value in values.values()):
                    problem = "fewer cells than columns"
                values.pop(None, None)  # type: ignore[call-overload]
                yield TableRow(f"{self.path.name}:{table.line_num}", values, problem)
        except csv.Error as error:
            raise DataError(f"'{self.path}' is not CSV: {error} (line {table.line_num}).") from error

    def _checked_header(self, cells: Sequence[str]) -> list[str]:
        """Returns the names of a text table's columns without spaces around them. Refuses a name that occurs twice, and
        a single column that another mark separates.
        """
        names = [cell.strip() for cell in cells]
        if twice := next((name for name in names if name and names.count(name) > 1), None):
            raise DataError(
                f"'{self.path}' has the column '{twice}' twice, so that one would be lost. Rename one of them."
            )
        wanted, others = ("tabs", ",;|") if self._kind == ".tsv" else ("commas", ";\t|")
        if len(names) == 1 and (mark := next((mark for mark in others if mark in names[0]), "")):
            shown = {"\t": "tabs"}.get(mark, f"'{mark}'")
            advice = ", or name it .tsv" if mark == "\t" else ""
            raise DataError(f"'{self.path}' separates its columns by {shown}. Save it with {wanted}{advice}.")
        return names


def _half_pair_problem(values: Any) -> str:
    try:
        refuse_half_pairs(values)
    except ValueError as error:
        return str(error)
    return ""


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return types.is_binary(kind) or types.is_large_binary(kind)


def _dicts(batch: Any, size: int = 64) -> Iterator[tuple[dict[str, Any], str]]:
    """Yields a batch's rows as dictionaries, each with its problem where a cell has no value in Python.

    They are converted a few at a time: Python objects are several times larger.
    """
    for start in range(0, batch.num_rows, size):
        part = batch.slice(start, size)
        try:
            yield from ((values, "") for values in part.to_pylist())
        except (ValueError, OverflowError):  # a text that is not UTF-8, or a date beyond Python's
            yield from (_dict(part.slice(row, 1)) for row in range(part.num_rows))


def _dict(row: Any) -> tuple[dict[str, Any], str]:
    try:
        return row.to_pylist()[0], ""
    except UnicodeDecodeError as error:
        return {}, f"a text is not UTF-8 ({error.reason})"
    except (ValueError, OverflowError) as error:
        return {}, str(error)

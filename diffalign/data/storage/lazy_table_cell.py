"""Handles of candidates that stay in their parquet or Arrow file until they are read.

A data set of a million images must open in seconds and fit in memory, so a reader yields small handles instead of
bytes. A handle pickles, and each process keeps a few files open, memory-mapped. Reading in order is cheap: a parquet
row group is decompressed once and kept while it is read, unless it is too large.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.data.storage.inside_folder import inside
from diffalign.errors import DataError

OPEN_FILES = 4
GROUP_BYTES = 32 * 2**20
"""A column of a row group up to this size is kept whole; a larger one is read in small batches."""
READ_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    NotImplementedError,
    TypeError,
    OverflowError,
    MemoryError,
    RuntimeError,
)
"""What pyarrow raises on a file that is damaged or not of its kind; pyarrow's own errors are of these types."""


def one_line(error: Exception) -> str:
    """Returns the first line of an error's message without its full stop, for the middle of a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")


@dataclass(frozen=True, slots=True)
class TableCell:
    """One cell of a table on disk that holds encoded bytes, plain or as the ecosystem's ``{"bytes", "path"}``.

    Args:
        file: The ``.parquet`` or ``.arrow`` file.
        column: The column's name in the file.
        row: The row's index in the file, from 0.
    """

    file: str
    column: str
    row: int

    def read(self) -> bytes:
        """Returns the bytes. Raises DataError when the file is gone or shorter than before, or the cell is empty."""
        try:
            with _lock:
                value = _open_table(self.file).value(self.column, self.row)
        except READ_ERRORS as error:
            raise DataError(
                f"cannot read {self}: {one_line(error)}. Was the file moved or rewritten since it was listed?"
            ) from error
        if isinstance(value, dict):
            value = value.get("bytes") or _read_named_file(self.file, value.get("path"))
        if not isinstance(value, bytes) or not value:
            raise DataError(f"{self} is empty: the encoded bytes of an image or video were expected.")
        return value

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.row}:{self.column}"


class _ParquetCells:
    """Random access to single cells of a parquet file, through windows on row groups."""

    def __init__(self, file: str) -> None:
        import pyarrow.parquet as parquet

        self._file = parquet.ParquetFile(file, memory_map=True, pre_buffer=False)
        groups = self._file.metadata.num_row_groups
        self._starts = [0]
        for group in range(groups):
            self._starts.append(self._starts[-1] + self._file.metadata.row_group(group).num_rows)
        self._windows: dict[str, _Window] = {}

    def value(self, column: str, row: int) -> Any:
        if not 0 <= row < self._starts[-1]:
            raise IndexError(f"row {row} of {self._starts[-1]}")
        if column not in self._file.schema_arrow.names:
            raise KeyError(f"no column {column}")
        group = bisect.bisect_right(self._starts, row) - 1
        row -= self._starts[group]
        window = self._windows.get(column)
        if window is None or window.group != group or row < window.start:
            window = self._windows[column] = _Window(group, self._batches(group, column))
        return window.value(row)

    def _batches(self, group: int, column: str) -> Iterator[Any]:
        metadata = self._file.metadata.row_group(group)
        chunks = [metadata.column(i) for i in range(metadata.num_columns)]
        size = sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] == column)
        rows = metadata.num_rows if size <= GROUP_BYTES else max(1, metadata.num_rows * GROUP_BYTES // (4 * size))
        batches = self._file.iter_batches(rows, row_groups=[group], columns=[column], use_threads=False)
        return (batch.column(0) for batch in batches)


class _Window:
    """The part of one column of one row group that is in memory; it only moves forwards."""

    def __init__(self, group: int, batches: Iterator[Any]) -> None:
        self.group, self.start, self._batches, self._batch = group, 0, batches, next(batches)

    def value(self, row: int) -> Any:
        while row >= self.start + len(self._batch):
            self.start += len(self._batch)
            self._batch = next(self._batches)
        return self._batch[row - self.start].as_py()


class _ArrowCells:
    """Random access to single cells of an Arrow file, which is not compressed and needs no window."""

    def __init__(self, file: str) -> None:
        self._table = arrow_table(file)
        self._columns: dict[str, Any] = {}

    def value(self, column: str, row: int) -> Any:
        if column not in self._columns:
            self._columns[column] = refuse_damage(self._table.select([column])).column(0)
        return self._columns[column][row].as_py()


def arrow_table(file: str | Path) -> Any:
    """Returns the memory-mapped table of an Arrow file, in the stream form (which ``datasets`` writes) or file form."""
    import pyarrow

    mapped = pyarrow.memory_map(str(file))
    try:
        return pyarrow.ipc.open_stream(mapped).read_all()
    except pyarrow.ArrowInvalid:
        mapped.seek(0)
        return pyarrow.ipc.open_file(mapped).read_all()


def refuse_damage(batch: Any) -> Any:
    """Returns a table or batch of an Arrow file whose offsets lie within its data.

    Arrow files are mapped into memory and not checked when they are opened: an offset that leads out of a damaged file
    would end the process.

    Raises:
        pyarrow.ArrowInvalid: One of them does not.
    """
    import pyarrow

    for column in batch.columns:
        try:
            column.validate(full=True)
        except pyarrow.ArrowInvalid as error:
            if "UTF8" not in str(error):  # such a text is the problem of its row
                raise
    return batch


def arrow_batches(file: str | Path) -> Iterator[Any]:
    """Yields the record batches of an Arrow file. They are read, not mapped, so that earlier batches leave memory."""
    import pyarrow

    with pyarrow.OSFile(str(file)) as source:
        try:
            yield from pyarrow.ipc.open_stream(source)
            return
        except pyarrow.ArrowInvalid:
            source.seek(0)
        batches = pyarrow.ipc.open_file(source)
        for number in range(batches.num_record_batches):
            yield batches.get_batch(number)


_lock = threading.Lock()
_open_tables: OrderedDict[str, _ParquetCells | _ArrowCells] = OrderedDict()


def _open_table(file: str) -> _ParquetCells | _ArrowCells:
    if file not in _open_tables:
        _open_tables[file] = _ArrowCells(file) if file.endswith(".arrow") else _ParquetCells(file)
        while len(_open_tables) > OPEN_FILES:
            _open_tables.popitem(last=False)
    _open_tables.move_to_end(file)
    return _open_tables[file]


def _reset_after_fork() -> None:
    """Replaces the lock and closes the files: a forked child must not inherit a held lock or share file positions."""
    global _lock
    _lock = threading.Lock()
    _open_tables.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _read_named_file(table: str, name: str | None) -> bytes | None:
    """Returns the bytes of a file that a cell names instead of holding; it must lie in the table's own folder."""
    if not name:
        return None
    path = inside(Path(table).parent, name)
    if path is None:
        raise DataError(f"{table} names the file '{name}', which lies outside its folder and is not read.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{table} names the file '{name}', which cannot be read: {error.strerror}.") from error

"""Tables as readers get them: with joined columns and turns in one form, and a note of everything that is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from diffalign.data.readers.column_use import INPUT, SYSTEM, TOOLS, ColumnUse, NotedValues, is_filled
from diffalign.data.readers.tables import FIRST_ROWS, Table, TableRow
from diffalign.errors import DataError, near_miss

INSTRUCTION = "instruction"
"""Alpaca's name of the column whose text goes on in its column ``input``."""


@dataclass(frozen=True)
class NotedTable(Table):
    """A table whose rows note what is read of them.

    Args:
        use: Where it is noted, for all tables of a data set.
    """

    use: ColumnUse = field(default_factory=ColumnUse, compare=False)

    @classmethod
    def of(cls, table: Table, use: ColumnUse) -> NotedTable:
        """Returns ``table`` with its use noted in ``use``."""
        return cls(table.path, table.rename, table.joins, use)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns' names, after renaming and joining, without ignored ones.

        Raises:
            DataError: A column to join is missing.
        """
        parts = [part for parts in self._all_joins.values() for part in parts]
        for name in parts:
            if name not in self._file_columns and not self._has_later(name):
                raise DataError(
                    f"'{self.path}' lacks the column '{name}', which columns joins to others."
                    f"{near_miss(name, self._file_columns)} Columns there: {', '.join(self._file_columns)}."
                )
        kept = [name for name in self._file_columns if name not in parts and name not in self.use.ignore]
        return (*kept, *self._all_joins)

    def rows(self) -> Iterator[TableRow]:
        """Yields the rows in order."""
        for row in super().rows():
            values = self.use.note_row(row)
            problem = self._join(values) or row.problem
            for name in self._chat_columns.keys() & values.keys() | {
                n for n, used in self._chat_columns.items() if used
            }:
                if self._chat_columns[name]:
                    values.setdefault(name, "")
                elif not is_filled(values[name]):
                    del values[name]
            yield TableRow(row.source, NotedValues(values, self.use.read), problem)

    def _has_later(self, name: str) -> bool:
        """Returns whether a row after the first ones has a column, which a text table may leave out before."""
        return any(name in row.values for row in super().rows())

    @cached_property
    def _file_columns(self) -> tuple[str, ...]:
        return Table(self.path, self.rename).columns

    @cached_property
    def _all_joins(self) -> dict[str, tuple[str, ...]]:
        """The columns to join: those that were given, and Alpaca's ``input`` to its ``instruction``."""
        joins = {name: tuple(self.rename.get(part, part) for part in parts) for name, parts in self.joins.items()}
        instruction = self.rename.get(INSTRUCTION, INSTRUCTION)
        parts = (instruction, INPUT)
        taken = {part for parts in joins.values() for part in parts} | self.use.ignore
        if set(parts) <= set(self._file_columns) and not taken & set(parts):
            joins[instruction] = parts
        return joins

    @cached_property
    def _chat_columns(self) -> dict[str, bool]:
        """Columns of the system's turns and of tools, and whether the first rows use them."""
        names = [name for name in (*SYSTEM, *TOOLS) if name in self.columns]
        first_rows = list(islice(super().rows(), FIRST_ROWS)) if names else []
        return {name: any(is_filled(row.values.get(name)) for row in first_rows) for name in names}

    def _join(self, values: dict[str, Any]) -> str:
        """Joins the texts of columns in ``values``; returns the problem where they are no texts."""
        for name, parts in self._all_joins.items():
            cells = [values.pop(part, None) for part in parts]
            self.use.joined.update((part, name) for part in parts if part != name)
            filled = [cell for cell in cells if is_filled(cell)]
            if len(filled) > 1 and not all(isinstance(cell, (str, int, float)) for cell in filled):
                return f"the columns {', '.join(parts)} cannot be joined: they must hold texts"
            values[name] = "\n\n".join(str(cell) for cell in filled) if len(filled) > 1 else next(iter(filled), None)
        return ""

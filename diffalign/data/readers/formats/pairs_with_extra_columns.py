"""Pairs together with the columns of their rows that no reader uses, so that writing a data set loses no column.

A reader keeps the columns that training needs. Other columns hold a person's remark, the language, or the name of the
model that answered; a command that only flips some labels should still write them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from diffalign.data.readers.column_use import SYSTEM, TOOLS
from diffalign.data.readers.formats.trl import FURTHER
from diffalign.data.readers.registry import READERS
from diffalign.data.readers.rows.parse_row import GROUP, PROBABILITY, as_number
from diffalign.data.readers.rows.parse_row import group_of as group_of
from diffalign.data.readers.sources import Columns, open_tables
from diffalign.data.records.frame_weights import FRAME_WEIGHTS
from diffalign.data.records.pair import Pair

USED = frozenset(
    [
        name
        for reader in READERS.values()
        if reader.name != "two_sides"  # is read and never written
        for name in (*reader.required, *(alias for names in reader.aliases.values() for alias in names))
    ]
    + [name for names in FURTHER.values() for name in names]
    + [*SYSTEM, *TOOLS]
    + [*PROBABILITY, *READERS["captioned"].unless, "id", "tie", "rejected_prompt", "augmented_prompt", FRAME_WEIGHTS]
)
"""Columns that readers use: the pair holds their content."""


@dataclass(frozen=True)
class PairRow:
    """One row of a table to write.

    Args:
        pair: The record.
        columns: Further columns: text, integer ids, lists. None of :data:`USED`.
    """

    pair: Pair
    columns: Mapping[str, Any] = field(default_factory=dict)


class RowsWithColumns(Sequence[PairRow]):
    """The rows of pairs that were read, made when they are indexed.

    Args:
        pairs: The pairs, as a list or a lazy sequence.
        columns: ``{source of a pair: its further columns}``, see :func:`unread_columns`.
    """

    def __init__(self, pairs: Sequence[Pair], columns: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._pairs, self._columns = pairs, columns or {}

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> PairRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[PairRow]: ...
    def __getitem__(self, index: int | slice) -> PairRow | list[PairRow]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        pair = self._pairs[index]
        columns = self._columns.get(pair.source, {})
        if not pair.group and any(name in columns for name in GROUP):  # some formats do not read it
            pair = replace(pair, group=group_of(columns))
        return PairRow(pair, {name: value for name, value in columns.items() if name != "group"})


def unread_columns(
    source: str | Path,
    *,
    split: str = "train",
    revision: str | None = None,
    columns: Columns | None = None,
    unread: Collection[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Returns the columns that no reader uses, texts and ids (``..._id``), by ``"file:row"``.

    Numbers are left out, since readers keep them with the pair. So are files of the same name in two folders, since
    their rows have the same source.

    Args:
        source, split, revision, columns: See :func:`~diffalign.data.readers.read_pairs`.
        unread: The columns that the reader did not read, of its :class:`~diffalign.data.records.pair.PairSet`. None:
            those that no reader reads.
    """
    tables = open_tables(source, split=split, revision=revision, columns=columns)
    name_counts = Counter(table.path.name for table in tables)
    columns_by_source = {}
    for table in tables:
        if name_counts[table.path.name] > 1:
            continue
        for row in table.rows():
            values = {name: value for name, value in row.values.items() if _is_unread(name, value)}
            if unread is not None:
                values = {n: value for n, value in values.items() if n in unread or n in GROUP or n.endswith("_id")}
            if values:
                columns_by_source[row.source] = values
    return columns_by_source


def rank_roles(pair: Pair) -> list[str]:
    """Returns the roles of a ranked list's answers between best and worst, by rank; empty for a pair."""
    return sorted((role for role in pair.further if role.isdigit()), key=int)


def list_to_pair(pair: Pair) -> Pair:
    """Reduces a ranked list to its best and worst answer; returns a pair unchanged."""
    ranks = rank_roles(pair)
    if not ranks:
        return pair
    further = {role: answer for role, answer in pair.further.items() if role not in ranks}
    return replace(pair, further=further, scores={role: s for role, s in pair.scores.items() if role not in ranks})


def _is_unread(name: str, value: Any) -> bool:
    if name in USED or value is None or value == "":
        return False
    if name.endswith("_id"):
        return isinstance(value, (str, int, float))
    return isinstance(value, str) and as_number(value) is None

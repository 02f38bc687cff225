"""Lines: pairs together with the columns of their rows that no record has, so that what is written loses nothing.

A reader keeps what training asks for. A person's remark, the language, which model answered stand in other columns; a
command that only turns some labels round should still write them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from diffalign.data.readers.parse_row import GROUP, PROBABILITY, as_number
from diffalign.data.readers.parse_row import group_of as group_of
from diffalign.data.readers.registry import READERS
from diffalign.data.readers.sources import open_tables
from diffalign.data.readers.trl import FURTHER
from diffalign.data.records.pair import Pair

USED = frozenset(
    [
        name
        for row in READERS.values()
        for name in (*row.required, *(a for names in row.aliases.values() for a in names))
    ]
    + [name for names in FURTHER.values() for name in names]
    + [*PROBABILITY, *READERS["captioned"].unless, "id", "tie", "rejected_prompt", "augmented_prompt"]
)
"""Columns that readers give a meaning: of a row that was read, the record has them."""


@dataclass(frozen=True)
class PairRow:
    """One row to be written.

    Args:
        pair: The record.
        columns: Further columns: text, whole numbers that name something, lists. None of :data:`USED`.
    """

    pair: Pair
    columns: Mapping[str, Any] = field(default_factory=dict)


class RowsWithColumns(Sequence[PairRow]):
    """The lines of pairs that were read, made when they are asked for.

    Args:
        pairs: The pairs, perhaps a lazy sequence.
        columns: ``{source of a pair: its further columns}``, see :func:`unread_columns`.
    """

    def __init__(self, pairs: Sequence[Pair], columns: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._pairs, self._columns = pairs, columns or {}

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        pair = self._pairs[index]
        columns = self._columns.get(pair.source, {})
        if not pair.group and any(name in columns for name in GROUP):  # not every format reads it
            pair = replace(pair, group=group_of(columns))
        return PairRow(pair, {name: value for name, value in columns.items() if name != "group"})


def unread_columns(
    source: str | Path, *, split: str = "train", revision: str | None = None, columns: Mapping[str, str] | None = None
) -> dict[str, dict[str, Any]]:
    """What the rows of a data set say besides: texts, and what names something (``..._id``), by ``"file:row"``.

    Numbers are not among them: readers keep them with the pair. Files of the same name in two folders are left out,
    since their rows cannot be told apart.

    Args:
        source, split, revision, columns: As of :func:`~diffalign.data.readers.read_pairs`.
    """
    tables = open_tables(source, split=split, revision=revision, columns=columns)
    names = Counter(table.path.name for table in tables)
    found = {}
    for table in tables:
        if names[table.path.name] > 1:
            continue
        for row in table.rows():
            if kept := {name: value for name, value in row.values.items() if _is_further(name, value)}:
                found[row.source] = kept
    return found


def rank_roles(pair: Pair) -> list[str]:
    """The roles of a ranked list's answers between best and worst, by rank; none of a pair."""
    return sorted((role for role in pair.further if role.isdigit()), key=int)


def list_to_pair(pair: Pair) -> Pair:
    """A ranked list's best and worst answer as a pair; what is a pair stays as it is."""
    ranks = rank_roles(pair)
    if not ranks:
        return pair
    further = {role: answer for role, answer in pair.further.items() if role not in ranks}
    return replace(pair, further=further, scores={role: s for role, s in pair.scores.items() if role not in ranks})


def _is_further(name: str, value: Any) -> bool:
    if name in USED or value is None or value == "":
        return False
    if name.endswith("_id"):
        return isinstance(value, (str, int, float))
    return isinstance(value, str) and as_number(value) is None

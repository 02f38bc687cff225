"""Finds the format nearest to a table that fits none, among those of its medium, and the columns to rename for it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from diffalign.data.readers.formats.trl import names_files
from diffalign.data.readers.registry import READERS, Reader
from diffalign.data.readers.rows.turns import normalise_turns
from diffalign.data.readers.tables import FIRST_ROWS, Table
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import near_miss

PLACEHOLDER = "<its name in the file>"
_FIRST = ("a", "1", "0", "left", "first")
_SECOND = ("b", "2", "1", "right", "second")
_PROMPT = (
    "prompt",
    "prompts",
    "question",
    "instruction",
    "query",
    "caption",
    "text",
    "input",
    "problem",
    "description",
)
_GOOD = (
    "chosen",
    "preferred",
    "better",
    "good",
    "best",
    "accepted",
    "positive",
    "pos",
    "winner",
    "winning",
    "win",
    "w",
)
_BAD = ("rejected", "dispreferred", "worse", "bad", "worst", "negative", "neg", "loser", "losing", "lose", "lost", "l")
_WORDS: Mapping[str, Sequence[str]] = {
    "prompt": _PROMPT,
    "caption": _PROMPT,
    "chosen": _GOOD,
    "rejected": _BAD,
    "chosen_file_name": _GOOD,
    "rejected_file_name": _BAD,
    "chosen_step": _GOOD,
    "rejected_step": _BAD,
    "response_a": _FIRST,
    "response_b": _SECOND,
    "jpg_0": _FIRST,
    "jpg_1": _SECOND,
    "winner": ("winner", "preferred", "preference", "label", "vote", "choice", "better", "judgement", "judgment"),
    "label_0": ("label", "vote", "preference"),
    "completion": ("completion", "response", "answer", "output", "reply"),
    "completions": ("completions", "responses", "answers", "outputs", "candidates", "images", "files"),
    "scores": ("scores", "ratings", "rewards", "ranks", "ranking", "votes"),
    "label": ("label", "desirable", "thumbs", "upvoted", "liked", "good"),
    "file_name": ("image", "file", "filename", "path", "img", "picture"),
}
"""Words of a column's name that suggest the column that a format expects."""


def nearest_format(table: Table) -> tuple[Reader, dict[str, str]]:
    """Returns the nearest format that holds what the table holds, and ``{column it expects: column of the table}`` for
    those that the table lacks by name; :data:`PLACEHOLDER` where none suggests itself.

    The nearest format has the most columns present; a renamed one counts nine tenths, a missing one less a third.
    """
    kind = kind_of(table)
    readers = [reader for reader in READERS.values() if kind in reader.holds]
    renames = {reader.name: _rename(table, reader) for reader in readers}

    def nearness(reader: Reader) -> float:
        guesses = renames[reader.name]
        missing = sum(name == PLACEHOLDER for name in guesses.values())
        return len(reader.required) - len(guesses) + 0.9 * (len(guesses) - missing) - missing / 3.0

    nearest = max(readers, key=nearness)
    if nearness(nearest) <= 0.0:
        nearest = READERS["pair_folder" if kind == "file" else "trl"]
    return nearest, renames[nearest.name]


def _rename(table: Table, reader: Reader) -> dict[str, str]:
    needed = reader.needed(table.columns)
    spare = [name for name in table.columns if name not in needed]
    guesses: dict[str, str] = {}
    for name in needed:
        if name not in table.columns:
            guesses[name] = next((column for column in spare if _suggests(column, name)), PLACEHOLDER)
            spare = [column for column in spare if column != guesses[name]]
    return guesses


def _suggests(column: str, expected: str) -> bool:
    words = [word for word in re.split(r"[^a-z0-9]+|(?<=[a-z])(?=\d)", column.lower()) if word]
    return bool(near_miss(expected, [column])) or any(word in _WORDS.get(expected, ()) for word in words)


def kind_of(table: Table) -> str:
    """Returns what the table's candidates are, by its first rows: ``"text"``, ``"file"`` or ``"bytes"``."""
    rows = list(islice(table.rows(), FIRST_ROWS))
    if any(names_files(table, [name]) for name in table.columns):
        return "file"
    return "bytes" if any(_holds_bytes(cell) for row in rows for cell in row.values.values()) else "text"


def _holds_bytes(cell: Any) -> bool:
    if isinstance(cell, dict):
        return normalise_turns(cell, lambda name: None) is cell and bool({"bytes", "path"} & cell.keys())
    return isinstance(cell, (bytes, TableCell))

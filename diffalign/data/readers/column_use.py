"""Notes which columns and message fields of a data set a reader reads, and refuses to lose what a row means.

Readers get rows that note every access, so nothing has to be declared. A column whose content changes the meaning of a
row (:data:`MEANING`) must be read, repeat what the prompt says already, or be left out on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from diffalign.data.readers.rows.turns import normalise_turns
from diffalign.data.readers.tables import TableRow
from diffalign.errors import DataError, near_miss

SYSTEM = ("system", "system_prompt", "system_message")
TOOLS = ("tools", "functions")
INPUT = "input"
MEANING = {
    **dict.fromkeys(SYSTEM, "the system's turn"),
    **dict.fromkeys(TOOLS, "tools that the answers may call"),
    **dict.fromkeys(("tool_calls", "function_call"), "calls of tools"),
    **dict.fromkeys((INPUT, "context", "history", "documents", "passages"), "a part of the prompt"),
    **dict.fromkeys(("reasoning_content", "reasoning", "thinking"), "what the assistant thought"),
    **dict.fromkeys(("image", "images", "image_url", "input_image", "source_image"), "images that belong to the row"),
    **dict.fromkeys(("video", "videos", "video_url"), "videos that belong to the row"),
    **dict.fromkeys(("audio", "audios", "audio_url", "input_audio"), "sounds that belong to the row"),
}
"""Columns, message fields and types of message parts without which a row means something else, and what they hold."""

PROMPT_CELLS = ("prompt", "instruction", "question", "query", "chosen", "completion")
"""Columns in which the text of a column of :data:`MEANING` may occur once more."""


@dataclass
class ColumnUse:
    """What was met and what was read.

    Args:
        ignore: Columns and message fields to leave out on purpose.
        met: Columns that hold something in some row.
        read: Columns that the reader read.
        fields: ``{message field that is left out: columns of its messages}``.
        sources: ``{column or message field of MEANING: the first row that has one which says something new}``.
        joined: ``{column: the column whose text it is joined to}``.
    """

    ignore: frozenset[str] = frozenset()
    met: dict[str, None] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    fields: dict[str, dict[str, None]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    joined: dict[str, str] = field(default_factory=dict)

    def note_row(self, row: TableRow) -> dict[str, Any]:
        """Returns the row's values with turns in one form, without ignored columns."""
        values = {}
        for name, cell in row.values.items():
            if not is_filled(cell):
                values[name] = cell
                continue
            self.met.setdefault(name)
            if name in self.ignore:
                continue
            values[name] = normalise_turns(cell, partial(self._note_field, row.source, name), self.ignore)
            if name in MEANING and name not in self.sources and not _is_repeated(cell, row.values, name):
                self.sources[name] = row.source
        return values

    def _note_field(self, source: str, column: str, name: str) -> None:
        self.fields.setdefault(name, {}).setdefault(column)
        if name in MEANING:
            self.sources.setdefault(name, source)

    def unread(self) -> list[str]:
        """Returns the columns that were not read, then the message fields as ``"prompt[].name"``."""
        columns = [name for name in self.met if name in self.ignore or not self._is_read(name)]
        unread_fields = [
            f"{column}[].{name}" for name, of in self.fields.items() for column in of if column in self.read
        ]
        return columns + unread_fields

    def refuse_loss(self, source: str, format: str, name_in_file: Callable[[str], str] = str) -> None:
        """Raises DataError where a column or message field of :data:`MEANING` was not read.

        Args:
            source: The data set.
            format: The format that it was read as.
            name_in_file: Gives the name that a column has in the file.
        """
        prompt = name_in_file(next((name for name in PROMPT_CELLS[:4] if name in self.read), "prompt"))
        for name, first in self.sources.items():
            in_messages = any(column in self.read for column in self.fields.get(name, ()))
            if name in self.ignore or not in_messages and (self._is_read(name) or name not in self.met):
                continue
            where = f"messages with '{name}'" if in_messages else f"the column '{name}'"
            is_text = MEANING[name] == MEANING[INPUT] and not in_messages
            advice = f"To join it to the prompt, give columns={{'prompt': ['{prompt}', '{name}']}}. " if is_text else ""
            raise DataError(
                f"'{source}' has {where} ({MEANING[name]}; first in {first}), which the {format} format does not read: "
                f"without it the rows would mean something else. {advice}To leave it out on purpose, type "
                f"--option ignore={name}, or in a recipe data.options: {{ignore: [{name}]}}."
            )

    def _is_read(self, name: str) -> bool:
        return name in self.read or self.joined.get(name) in self.read

    def refuse_misspelt(self, columns: Sequence[str]) -> None:
        """Raises DataError where a name to ignore is no column, and similar to one."""
        for name in sorted(self.ignore - set(columns) - set(self.fields) - set(MEANING)):
            if guess := near_miss(name, columns):
                raise DataError(f"ignore names '{name}', which is no column.{guess}")


class NotedValues(dict[str, Any]):
    """The values of a row by column; notes which columns are read."""

    def __init__(self, values: Mapping[str, Any], read: set[str]) -> None:
        super().__init__(values)
        self._read = read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """Returns the value of a column, or ``default`` without it."""
        if name in self:
            self._read.add(name)
        return super().get(name, default)


def is_filled(cell: Any) -> bool:
    """Returns whether a cell holds something: not nothing, blanks, or an empty list, also one written as text."""
    if isinstance(cell, str):
        return cell.strip() not in ("", "[]", "{}")
    return cell is not None and cell != [] and cell != {}


def _is_repeated(cell: Any, values: Mapping[str, Any], name: str) -> bool:
    """Returns whether the prompt has the text of the cell already."""
    if not isinstance(cell, str) or MEANING[name] not in (MEANING["system"], MEANING[INPUT]):
        return False
    others = (values.get(other) for other in PROMPT_CELLS if other != name)
    return any(_has_as_lines(text, cell.strip()) for other in others for text in _texts(other))


def _has_as_lines(text: str, lines: str) -> bool:
    return f"\n{lines}\n" in f"\n{text.strip()}\n"


def _texts(cell: Any, depth: int = 4) -> Iterator[str]:
    """Yields the texts of a cell: of a text, of turns, of parts of a message."""
    if isinstance(cell, str):
        yield cell
    elif depth and isinstance(cell, (list, dict)):
        for item in cell.values() if isinstance(cell, dict) else cell:
            yield from _texts(item, depth - 1)

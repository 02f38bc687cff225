r"""The border to the terminal: whatever is written to it, by us or a library, is printable.

Prompts, metadata, names of files and columns come from others, and a terminal obeys the control characters in them. So
standard output and error are replaced before a command starts, and with them what goes there: messages, warnings, logs
and tracebacks. What moves a progress line stays: a ``\r`` at the beginning of what is written, and the moves between
bars. `rich` writes past this border, as its colours are control characters; text from outside is made printable before
it gets there.
"""

from __future__ import annotations

import re
import sys
from typing import Any, TextIO

from diffalign.printable import printable

_MOVES = re.compile(r"\n*(\x1b\[A)*")
"""What progress bars write alone to get to another line."""


class CleanStream:
    """A text stream that makes everything printable on its way to another one.

    Args:
        raw: The stream behind it.
    """

    def __init__(self, raw: TextIO) -> None:
        self._raw = raw
        self.rich_proxied_file = raw  # where rich looks for the stream that takes its colours

    def write(self, text: str) -> int:
        """Writes a text; control characters become visible escapes."""
        if not isinstance(text, str):
            raise TypeError(f"a text stream takes text, not {type(text).__name__}")
        start = "\r" if text.startswith("\r") else ""
        clean = text if _MOVES.fullmatch(text) else start + printable(text[len(start) :].replace("\r\n", "\n"))
        self._raw.write(clean)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes texts one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        if name == "buffer":  # bytes would pass the border
            raise AttributeError(name)
        return getattr(self._raw, name)


def clean_terminal() -> None:
    """Puts the border before standard output and error. Letters that their encoding lacks are escaped as well."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None or isinstance(stream, CleanStream):
            continue
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, CleanStream(stream))

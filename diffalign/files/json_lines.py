"""JSON lines: the one writer and the one reader of files with a JSON value per line, and of files with a text per line.

A line ends at a line feed (or ``\\r\\n``, or ``\\r``), as files have it. ``str.splitlines`` also ends one at U+2028,
U+2029 and U+0085, which JSON allows within a text, so it is not used; the writer escapes these three, and a program
that does split there reads the same rows.

Half a surrogate pair (``"\\ud83d"`` alone) is valid JSON and is no character: UTF-8 cannot hold it, so neither a
tokenizer nor a file can. It is refused where it is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from diffalign.errors import DataError
from diffalign.files.atomic import write_atomically

_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def json_line(value: Any) -> str:
    """Returns a value as one line of JSON with its line feed; text stays readable where UTF-8 can encode it."""
    text = json.dumps(value, ensure_ascii=False)
    if _HALF_PAIR.search(text):
        return json.dumps(value) + "\n"
    return text.translate(_LINE_ENDS) + "\n"


def json_lines(values: Iterable[Any]) -> str:
    """Returns values as lines of JSON."""
    return "".join(map(json_line, values))


def write_json_lines(path: Path, values: Iterable[Any]) -> Path:
    """Writes values as lines of JSON; ``path`` is always a complete file. Raises as :func:`write_atomically`."""
    text = json_lines(values)
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def parse_json(text: str) -> Any:
    """Parses JSON from outside.

    Raises:
        ValueError: It is no JSON, is nested too deeply, or a text in it holds half a surrogate pair. The message is a
            clause.
    """
    try:
        value = json.loads(text)
        if _ESCAPED_HALF.search(text):
            refuse_half_pairs(value)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


def refuse_half_pairs(value: Any) -> None:
    """Raises ValueError where a text, or a key or text of nested values, holds half a surrogate pair."""
    if isinstance(value, str) and not value.isascii() and (match := _HALF_PAIR.search(value)):
        half = f"\\u{ord(match[0]):04x}"
        raise ValueError(
            f"{half} alone is half a surrogate pair, which is no character. Remove it, or write both halves"
        )
    parts = (*value, *value.values()) if isinstance(value, dict) else value
    for part in parts if isinstance(parts, (list, tuple)) else ():
        refuse_half_pairs(part)


def numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Yields the lines of a text file that are not blank, without their ends, each with its number from 1.

    Raises:
        DataError: The file cannot be read or is not UTF-8.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}.") from error


def text_lines(path: str | Path) -> list[str]:
    """Returns the lines of a text file that are not blank, without spaces around them. Raises as
    :func:`numbered_lines`.
    """
    return [line.strip() for _, line in numbered_lines(path)]


def intact_values(path: str | Path) -> Iterator[Any]:
    """Yields the values of a file that grows line by line; a line that a kill cut short is left out. A missing file has
    none.
    """
    if not Path(path).is_file():
        return
    with Path(path).open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield parse_json(line)
            except ValueError:
                continue

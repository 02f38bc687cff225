"""The one border for small text files: recipes, lists of prompts, templates. Bounded in size, encoded in UTF-8."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

from diffalign.errors import ConfigError, UserError

LARGEST = 2**24
"""Bytes of a text file that people write or that a model comes with."""
_MARKS = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32"} | {
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
"""Names of other encodings by the mark that files in them begin with; UTF-32's first, as UTF-16's is its beginning."""


def is_file(path: Path) -> bool:
    """Returns whether a file exists; False also for a link to itself and for a name that the system cannot hold."""
    try:
        return path.is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def read_text_file(
    path: str | Path, what: str = "file", *, largest: int = LARGEST, error: type[UserError] = ConfigError
) -> str:
    """Returns the text of a UTF-8 file, without its byte order mark.

    Args:
        path: The file.
        what: Its name in messages: "recipe".
        largest: Bytes that it may have.
        error: The type of errors.

    Raises:
        UserError: The file is missing, no file, too large or not UTF-8; ``error`` is its type.
    """
    if not os.path.isfile(path):  # unlike Path.is_file, it is False for names that are too long
        kind = "a folder" if os.path.isdir(path) else "no file" if os.path.exists(path) else "missing"
        raise error(f"there is no {what} '{path}': it is {kind}.")
    try:
        with open(path, "rb") as file:
            content = file.read(largest + 1)
    except OSError as reason:
        raise error(f"the {what} '{path}' cannot be read: {reason.strerror or reason}.") from None
    if len(content) > largest:
        raise error(f"the {what} '{path}' is larger than {largest:,} bytes, so it is probably another kind of file.")
    return _decoded(content, f"the {what} '{path}'", error)


def _decoded(content: bytes, name: str, error: type[UserError]) -> str:
    other = next((encoding for mark, encoding in _MARKS.items() if content.startswith(mark)), "")
    if not other:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as reason:
            line = content.count(b"\n", 0, reason.start) + 1
            place = f"line {line}"
            raise error(
                f"{name} is not UTF-8: {place} has the byte {content[reason.start]:#04x}. Save it as UTF-8; "
                "for a Latin-1 file type: iconv -f latin1 -t utf8 FILE > NEW"
            ) from None
    raise error(f"{name} is {other}, and only UTF-8 is read. Type: iconv -f {other} -t utf8 FILE > NEW")

r"""Text from outside, made safe to print: names of files and columns, prompts, metadata and values of a recipe.

A terminal obeys control characters: they move the cursor, change colours and titles, and hide what was printed before.
Here they become visible escapes, ``\x1b`` for the one that begins most commands. So do marks that reverse the direction
of a line, separators that break it, and halves of surrogate pairs, which no encoding can write.
"""

from __future__ import annotations

import re
import reprlib
import shlex

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufff9-\ufffb]"
)
"""All control characters but tab and line feed, marks of direction, separators of lines, surrogates, annotations."""


def printable(text: str, most: int | None = None) -> str:
    """Returns a text with escapes in place of control characters, and of a long one only both ends.

    Args:
        text: Any text.
        most: The number of characters above which the middle is left out; None for no limit.
    """
    if most is not None and len(text) > most:
        last = most // 4
        left_out = f" ... ({len(text) - most:,} characters left out) ... "
        text = text[: most - last] + left_out + text[len(text) - last :]
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str, most: int | None = None) -> str:
    """Returns a :func:`printable` text on one line: line feeds and tabs become escapes as well."""
    return printable(text, most).replace("\n", "\\n").replace("\t", "\\t")


def typed(option: str, key: str, value: object) -> str:
    """Returns an option with a value as a shell and YAML read it: ``--set train.steps=3``; VALUE for a long one."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, (dict, list, tuple)) or len(text) > 80 or text != one_line(text):
        text = "VALUE"
    return f"{option} {shlex.quote(f'{key}={text}')}"


def shown(value: object, most: int = 80) -> str:
    """Returns how a value is written in Python, at most about ``most`` characters, whatever it contains and repeats."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = most
    short.maxlevel, short.maxlist, short.maxdict, short.maxtuple = 3, 6, 6, 6
    try:
        return one_line(short.repr(value), 2 * most)
    except (ValueError, RecursionError):  # a number of more digits than Python writes
        return f"a very large {type(value).__name__}"

"""Texts from outside in Markdown: prompts, answers and names are shown as they are and cannot become markup."""

from __future__ import annotations

import html
import json
import re

from diffalign.printable import one_line


def escape(text: str) -> str:
    """Returns a text as one line of Markdown that shows it literally."""
    line = re.sub(r"([\\`*_\[\]|~]|^[-+=#])", r"\\\1", html.escape(one_line(text), quote=False))
    return re.sub(r"^(\d+)([.)])(?=\s)", r"\1\\\2", line)


def code(text: str) -> str:
    """Returns a text as inline code, whatever backticks it contains."""
    line = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def literal(text: str) -> str:
    """Returns a text as a Python literal on one line, for a snippet."""
    return json.dumps(one_line(text), ensure_ascii=False)


def cell(value: object) -> str:
    """Returns a value as the cell of a table; a number with six digits, None as nothing."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else escape(str(value).replace("\n", " "))

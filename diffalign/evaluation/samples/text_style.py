"""Style of a text: how much Markdown formatting it uses, as counts that a judge may prefer or dislike.

    words      parts between whitespace
    lists      lines that begin with -, *, + or a number and a full stop
    bold       phrases in ** or __
    headers    lines that begin with one to six #

Fenced code counts as words only, because a # there is a comment.

Source: the features of Chatbot Arena's style control (Li, Angelopoulos and Chiang 2024, "Does style matter?",
lmsys.org), with words in place of tokens.
"""

from __future__ import annotations

import re

FEATURES = ("words", "lists", "bold", "headers")
_CODE = re.compile(r"^ {0,3}(```|~~~).*?(?:^ {0,3}\1|\Z)", re.DOTALL | re.MULTILINE)
_LISTS = re.compile(r"^\s*(?:[-*+]|\d{1,9}\.)\s+\S", re.MULTILINE)
_BOLD = re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__")
_HEADERS = re.compile(r"^ {0,3}#{1,6}\s+\S", re.MULTILINE)


def text_style(text: str) -> dict[str, int]:
    """Returns the counts by the names of :data:`FEATURES`."""
    prose = _CODE.sub("", text)
    return {
        "words": len(text.split()),
        "lists": len(_LISTS.findall(prose)),
        "bold": len(_BOLD.findall(prose)),
        "headers": len(_HEADERS.findall(prose)),
    }

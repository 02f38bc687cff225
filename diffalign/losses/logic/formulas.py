"""Statements about a pair: parsed from text, evaluated in a world, written as text.

    M_l -> M_w        not (M_w and M_l)        M_w xor M_l        true

Operators by increasing precedence: ``iff``, ``->`` (right-associative), ``or``, ``xor``, ``and``, ``not``. The symbols
of logic and of programming languages are accepted as well, and ``Mw`` for ``M_w``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

PROPOSITIONS = ("M_w", "M_l", "R_w", "R_l")
"""Every proposition, in the order of a world's digits."""

_SIGNS = {
    "!": "not",
    "~": "not",
    "¬": "not",
    "&": "and",
    "&&": "and",
    "∧": "and",
    "|": "or",
    "||": "or",
    "∨": "or",
    "^": "xor",
    "⊕": "xor",
    "=>": "->",
    "→": "->",
    "implies": "->",
    "<->": "iff",
    "<=>": "iff",
    "↔": "iff",
}
_TOKEN = re.compile(r"\s*(<->|<=>|->|=>|&&|\|\||[!~¬&∧|∨^⊕→↔()]|\w+|\S)")
_LOOSEST = ("iff", "->", "or", "xor", "and")
_WORDS = {*_LOOSEST, "not", "true", "false", "(", ")"}


@dataclass(frozen=True)
class Formula:
    """A statement.

    Args:
        head: A proposition, "true", "false", "not", or an operator.
        parts: The operands; none for a proposition.
    """

    head: str
    parts: tuple[Formula, ...] = ()

    def holds(self, world: Mapping[str, bool]) -> bool:
        """Returns whether it is true in a world."""
        if not self.parts:
            return self.head == "true" or (self.head != "false" and world[self.head])
        one, other = self.parts[0].holds(world), self.parts[-1].holds(world)
        values = {"not": not one, "and": one and other, "or": one or other, "xor": one != other, "iff": one == other}
        return values.get(self.head, other or not one)

    @property
    def propositions(self) -> frozenset[str]:
        """The propositions that occur in it."""
        head = frozenset({self.head} & set(PROPOSITIONS))
        return head.union(*(part.propositions for part in self.parts))

    def __str__(self) -> str:
        if self.head == "not":
            return f"not {self._inside(self.parts[0])}"
        return f" {self.head} ".join(map(self._inside, self.parts)) or self.head

    def _inside(self, part: Formula) -> str:
        chained = self.head == part.head and self.head in ("and", "or")
        return str(part) if not part.parts or part.head == "not" or chained else f"({part})"


TRUE, FALSE = Formula("true"), Formula("false")


def formula(text: str) -> Formula:
    """Returns the statement of a text. Raises ValueError with the place that cannot be parsed."""
    tokens = [_word(token, text) for token in _TOKEN.findall(text)]
    if not tokens:
        raise ValueError("there is no statement to read; write one such as 'M_l -> M_w', or 'true'")
    statement, rest = _read(tokens, 0, text)
    if rest:
        raise _unread(text, rest)
    return statement


def _word(token: str, text: str) -> str:
    word = _SIGNS.get(token, _SIGNS.get(token.lower(), token.lower()))
    if match := re.fullmatch(r"([mr])_?([wl])", word):
        return f"{match[1].upper()}_{match[2]}"
    if word not in _WORDS:
        raise ValueError(
            f"'{token}' in '{text}' is no proposition; there are {', '.join(PROPOSITIONS)} (chosen and rejected "
            "candidate, by the model and by the reference), true and false, joined by not, and, or, xor, ->, iff"
        )
    return word


def _read(tokens: list[str], level: int, text: str) -> tuple[Formula, list[str]]:
    if level == len(_LOOSEST):
        return _single(tokens, text)
    head = _LOOSEST[level]
    left, rest = _read(tokens, level + 1, text)
    while rest and rest[0] == head:
        right, rest = _read(rest[1:], level if head == "->" else level + 1, text)
        left = Formula(head, (left, right))
    return left, rest


def _single(tokens: list[str], text: str) -> tuple[Formula, list[str]]:
    if not tokens:
        raise ValueError(f"'{text}' ends where a statement should follow")
    first, rest = tokens[0], tokens[1:]
    if first == "not":
        inner, rest = _single(rest, text)
        return Formula("not", (inner,)), rest
    if first == "(":
        inner, rest = _read(rest, 0, text)
        if not rest or rest[0] != ")":
            raise _unread(text, rest) if rest else ValueError(f"a bracket of '{text}' is not closed")
        return inner, rest[1:]
    if first in PROPOSITIONS or first in ("true", "false"):
        return Formula(first), rest
    raise _unread(text, tokens)


def _unread(text: str, rest: list[str]) -> ValueError:
    return ValueError(f"'{text}' cannot be read from '{' '.join(rest)}' on; write for example 'M_l -> (M_w and R_l)'")

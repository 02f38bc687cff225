"""Reads who won a comparison of two sides, as data sets write it: a side's name, letter or number, or the winner's.

    a, A, model_a, [[A]], A>B, leftvote, response_1         a name or a letter of a side
    gpt-4                                                   the name in the side's ``model_a`` or ``left_model``
    1, 2 for response_1 and response_2; 0, 1 for image_0 and image_1          the number of a side
    -3 ... 3 in preference_strength and overall_preference  HelpSteer: below 0 the first, 0 a tie
    1, 0, 0.5 in label_0 or prefer_0                        Pick-a-Pic: the share of votes for side 0
    1 or 0 in winner_model_a, winner_model_b, winner_tie    LMSYS's competition: one column for each outcome
    tie, both, same, equal, tievote, bothbad_vote           a tie

A number that may mean either side is refused: 1 beside ``response_a`` and ``response_b`` is "the second" in one data
set and "the first has won" in another. The option ``winners`` then states what each value means.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from diffalign.data.readers.rows.parse_row import Drop, as_bool, as_number
from diffalign.data.records.pair import BAD_LABEL, NO_LABEL
from diffalign.errors import DataError

STRENGTHS = ("preference_strength", "overall_preference")
VOTES = {"label_0": ("label_1",), "prefer_0": ("prefer_1",), "winner_model_a": ("winner_model_b", "winner_tie")}
"""Columns with the share of votes for the first side, with those for the second and for a tie."""
WINNERS = ("winner", "preferred", "preference", "label", "vote", "vote_type", "better", "choice", *STRENGTHS, *VOTES)
"""Columns of the winner; the first one present is read."""
TIES = ("tie", "tied", "both", "same", "equal", "neither", "draw", "none", "bothbad", "both_bad", "tievote")
SIDES = {"first": 1.0, "second": 0.0, "tie": 0.5}
"""The probability that the first side is the better one, by the words of the option ``winners``."""

_STEMS = (
    "model",
    "response",
    "answer",
    "output",
    "completion",
    "conversation",
    "assistant",
    "image",
    "video",
    "option",
)
_PLACES = (("a", "first", "left", "leftvote"), ("b", "second", "right", "rightvote"))
_WORDS = re.compile(r"[^a-z0-9]+")
_GREATER = re.compile(r"\[*\s*([ab])\s*(>+|<+)\s*([ab])\s*\]*")
_EQUAL = re.compile(r"\ba\s*=+\s*b\b")
_NUMBER = re.compile(r"(\d)$")


@dataclass(frozen=True)
class Winners:
    """How the winner of a table is written.

    Args:
        column: Its column.
        sides: The columns of the two sides.
        numbers: ``{number: probability that the first side is the better one}``; empty where numbers are unclear.
        given: What the option ``winners`` states, by value.
    """

    column: str
    sides: tuple[str, str]
    numbers: Mapping[float, float]
    given: Mapping[str, float]

    def first_wins(self, values: Mapping[str, Any]) -> float:
        """Returns the probability that the first side of a row is the better one: 1, 0, or 0.5 for a tie; for a share
        of votes any number in [0, 1]. Drops the row of a value without a meaning.
        """
        cell = values.get(self.column)
        if cell is None or isinstance(cell, str) and not cell.strip():
            raise Drop(NO_LABEL, f"{self.column} is empty")
        if self.given:
            if _key(cell) not in self.given:
                raise Drop(BAD_LABEL, f"winners does not state what {self.column} = {cell!r} means")
            return self.given[_key(cell)]
        if self.column in VOTES:
            return _share(self.column, values)
        number = as_number(cell)
        if number is not None and self.column in STRENGTHS:
            return 0.5 if not number else float(number < 0.0)
        if number is not None:
            if number not in self.numbers:
                raise Drop(BAD_LABEL, f"{self.column} = {cell!r} is the number of neither {' nor '.join(self.sides)}")
            return self.numbers[number]
        return self._from_word(str(cell), values)

    def _from_word(self, text: str, values: Mapping[str, Any]) -> float:
        models = [
            next((values.get(name) for name in _model_columns(side) if name in values), None) for side in self.sides
        ]
        if text in models:
            if models[0] == models[1]:
                raise Drop(BAD_LABEL, f"{self.column} = {text[:40]!r} is the model of both sides")
            return float(models[0] == text)
        word = _WORDS.sub("_", text.lower()).strip("_")
        if word in TIES or word.split("_")[0] in TIES or _EQUAL.search(text.lower()):
            return 0.5
        if (order := _GREATER.fullmatch(text.strip().lower())) and order[1] != order[3]:
            return float((order[1] == "a") == (order[2][0] == ">"))
        stem, _, place = word.rpartition("_")
        for position, side in enumerate(self.sides):
            names = _names(side, position)
            if word in names or stem in _STEMS and place in names:
                return 1.0 - position
        raise Drop(BAD_LABEL, f"{self.column} = {text[:40]!r} names neither {' nor '.join(self.sides)}, nor a tie")


def read_winners(column: str, sides: tuple[str, str], cells: Iterable[Any], given: Mapping[Any, Any] | None) -> Winners:
    """Returns how the winner of a table is written.

    Args:
        column: Its column.
        sides: The columns of the two sides.
        cells: The column's first cells.
        given: The option ``winners``: ``{value: "first", "second" or "tie"}``.

    Raises:
        DataError: Numbers may mean either side; ``given`` has another word.
    """
    stated = {_key(value): SIDES.get(str(meaning), -1.0) for value, meaning in (given or {}).items()}
    if -1.0 in stated.values():
        raise DataError(
            f"winners gives each value of '{column}' a meaning: first, second or tie; got {dict(given or {})}."
        )
    cells = list(cells)
    numbers = {number for cell in cells if (number := as_number(cell)) is not None}
    if stated or not numbers or column in (*STRENGTHS, *VOTES):
        return Winners(column, sides, {}, stated)
    first, second = (_NUMBER.search(side) for side in sides)
    if first and second and not any(isinstance(cell, bool) for cell in cells):
        by_side = {float(first[1]): 1.0, float(second[1]): 0.0}
        ties = {0.0: 0.5} if 0.0 not in by_side and 2.0 in numbers else {}
        if numbers <= {*by_side, *ties}:
            return Winners(column, sides, by_side | ties, stated)
    guess = f"{{{_example(numbers)}}}"
    raise DataError(
        f"'{column}' holds the numbers {', '.join(f'{n:g}' for n in sorted(numbers)[:6])}, which do not say whether "
        f"'{sides[0]}' or '{sides[1]}' is the better one. State it, here with a guess: "
        f'--option "winners={guess}", or in a recipe data.options: {{winners: {guess}}}.'
    )


def _key(value: Any) -> str:
    """Returns a value as text; a number in its shortest form, whatever a file stores it as."""
    number = as_number(value)
    return str(value).strip() if number is None else f"{number:g}"


def _example(numbers: set[float]) -> str:
    words = ("first", "second", "tie", "tie", "tie", "tie")
    return ", ".join(f"{n:g}: {word}" for n, word in zip(sorted(numbers)[:6], words, strict=False))


def _share(column: str, values: Mapping[str, Any]) -> float:
    """Returns the share of votes for the first side, from the columns of :data:`VOTES`."""
    first, second = (_as_share(values.get(name)) for name in (column, VOTES[column][0]))
    if first is None or not 0.0 <= first <= 1.0:
        raise Drop(BAD_LABEL, f"{column} must lie in [0, 1]; got {values.get(column)!r}")
    if second is None or abs(first + second - 1.0) <= 1e-3:
        return first
    if first == second == 0.0:
        return 0.5
    raise Drop(BAD_LABEL, f"{column} and its complement must add up to 1; got {first:g} and {second:g}")


def _as_share(cell: Any) -> float | None:
    return float(as_bool(cell)) if str(cell).strip().lower() in ("true", "false") else as_number(cell)


def _names(side: str, position: int) -> set[str]:
    """Returns the words for a side: its column, its letter or place, and its number."""
    number = _NUMBER.search(side)
    return {_WORDS.sub("_", side.lower()), *_PLACES[position], *([number[1]] if number else [])}


def _model_columns(side: str) -> tuple[str, ...]:
    """Returns the columns that may hold the name of a side's model."""
    if side.lower().startswith(("left", "right")):
        return (f"{side.split('_')[0]}_model",)
    ending = re.search(r"_?([A-Za-z]|\d)$", side)
    return (f"model_{ending[1]}", f"model{ending[1]}") if ending else ()

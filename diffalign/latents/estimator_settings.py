"""Settings of an estimator: their allowed values, and the messages for values that are not allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BY_MODE = "the mode's own value"
"""The effect of leaving out a setting whose default depends on the mode."""


@dataclass(frozen=True)
class EstimatorSetting:
    """The allowed values of a setting.

    Args:
        allows: Whether a value is allowed.
        values: The allowed values in words.
        meaning: Description of the setting, as in "steps is MEANING".
        advice: Advice for a value that is not allowed.
    """

    allows: Callable[[Any], bool]
    values: str
    meaning: str
    advice: str

    def __str__(self) -> str:
        return f"{self.meaning}, {self.values}"

    def check(self, name: str, value: Any) -> None:
        """Raises ValueError when ``value`` is not allowed."""
        if not self.allows(value):
            raise ValueError(f"{name} is {self}; got {value!r}. {self.advice}")


def whole(low: int, meaning: str, advice: str, *, null: str = "") -> EstimatorSetting:
    """Allows whole numbers that are at least ``low``; None too where ``null`` says what it stands for."""
    return _setting(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low,
        *(f"a whole number from {low} on", meaning, advice, null),
    )


def number(low: float, meaning: str, advice: str, *, null: str = "") -> EstimatorSetting:
    """Allows finite numbers that are at least ``low``; None too where ``null`` says what it stands for."""
    return _setting(
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value < math.inf,
        *(f"a number from {low:g} on", meaning, advice, null),
    )


def switch(meaning: str, advice: str, *, null: str = "") -> EstimatorSetting:
    """Allows true and false; None too where ``null`` says what it stands for."""
    return _setting(lambda value: isinstance(value, bool), "true or false", meaning, advice, null)


def one_of(names: tuple[str, ...], meaning: str, advice: str, *, null: str = "") -> EstimatorSetting:
    """Allows some names; None too where ``null`` says what it stands for."""
    return _setting(
        lambda value: isinstance(value, str) and value in names,
        *(f"one of {', '.join(names)}", meaning, advice, null),
    )


def _setting(allows: Callable[[Any], bool], values: str, meaning: str, advice: str, null: str) -> EstimatorSetting:
    if not null:
        return EstimatorSetting(allows, values, meaning, advice)
    return EstimatorSetting(
        lambda value: value is None or allows(value), f"{values}, or null for {null}", meaning, advice
    )

"""Settings of an estimator: their allowed values, and the messages for values that are not allowed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BY_MODE = ", or null for the mode's own value"


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


def whole(low: int, meaning: str, advice: str) -> EstimatorSetting:
    """Allows whole numbers that are at least ``low``."""
    return EstimatorSetting(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low,
        *(f"a whole number from {low} on", meaning, advice),
    )


def strength(meaning: str, advice: str) -> EstimatorSetting:
    """Allows finite numbers that are at least 0, and None for the mode's own value."""
    return EstimatorSetting(
        lambda value: (
            value is None
            or (isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value < math.inf)
        ),
        *(f"a number from 0 on{BY_MODE}", meaning, advice),
    )


def switch(meaning: str, advice: str, *, by_mode: bool = False) -> EstimatorSetting:
    """Allows true and false; with ``by_mode`` also None for the mode's own value."""
    return EstimatorSetting(
        lambda value: isinstance(value, bool) or (by_mode and value is None),
        *(f"true or false{BY_MODE * by_mode}", meaning, advice),
    )


def one_of(names: tuple[str, ...], meaning: str, advice: str, *, by_mode: bool = False) -> EstimatorSetting:
    """Allows some names; with ``by_mode`` also None for the mode's own value."""
    return EstimatorSetting(
        lambda value: (isinstance(value, str) and value in names) or (by_mode and value is None),
        *(f"one of {', '.join(names)}{BY_MODE * by_mode}", meaning, advice),
    )

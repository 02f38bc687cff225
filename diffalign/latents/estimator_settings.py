"""Settings of an estimator: what each may be, and how to say so to somebody who typed another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

BY_MODE = ", or null for what the mode does"


@dataclass(frozen=True)
class EstimatorSetting:
    """What a setting may be.

    Args:
        allows: Whether a value is allowed.
        values: The allowed values in words.
        meaning: What the setting is, as in "steps is MEANING".
        advice: What to type instead of a value that is not allowed.
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
    """A whole number that is at least ``low``."""
    return EstimatorSetting(
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= low,
        *(f"a whole number from {low} on", meaning, advice),
    )


def strength(meaning: str, advice: str) -> EstimatorSetting:
    """A finite number that is at least 0, or nothing: what the mode does."""
    return EstimatorSetting(
        lambda value: (
            value is None
            or (isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 <= value < math.inf)
        ),
        *(f"a number from 0 on{BY_MODE}", meaning, advice),
    )


def switch(meaning: str, advice: str, *, by_mode: bool = False) -> EstimatorSetting:
    """True or false; ``by_mode``: or nothing, what the mode does."""
    return EstimatorSetting(
        lambda value: isinstance(value, bool) or (by_mode and value is None),
        *(f"true or false{BY_MODE * by_mode}", meaning, advice),
    )


def one_of(names: tuple[str, ...], meaning: str, advice: str, *, by_mode: bool = False) -> EstimatorSetting:
    """One of some names; ``by_mode``: or nothing, what the mode does."""
    return EstimatorSetting(
        lambda value: (isinstance(value, str) and value in names) or (by_mode and value is None),
        *(f"one of {', '.join(names)}{BY_MODE * by_mode}", meaning, advice),
    )

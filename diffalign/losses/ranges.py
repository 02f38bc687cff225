"""Ranges: the values that a hyperparameter may take, and the message for others."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

LARGEST, SMALLEST = 3.4028234663852886e38, 1.1754943508222875e-38
"""Ends of float32's normal numbers, in which losses are computed."""


@dataclass(frozen=True)
class Range:
    """The values that a hyperparameter may take.

    Args:
        low: Lower end.
        high: Upper end.
        low_inclusive: Whether the lower end itself is allowed.
        high_inclusive: Whether the upper end itself is allowed.
        meaning: The meaning of the number, as in "beta is MEANING".
        advice: The value to type instead.
    """

    low: float
    high: float
    low_inclusive: bool
    high_inclusive: bool
    meaning: str
    advice: str

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.low_inclusive else value > self.low
        below = value <= self.high if self.high_inclusive else value < self.high
        return above and below

    def check(self, name: str, value: object) -> None:
        """Raises ValueError for a value that is no number or lies outside."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} is {self.meaning}, a number in {self}; got {value!r}. {self.advice}")
        if abs(value) > sys.float_info.max and isinstance(value, int):
            raise ValueError(f"{name} is {self.meaning}; the given number has too many digits. {self.advice}")
        if LARGEST < abs(value) < math.inf or 0.0 < abs(value) < SMALLEST:
            raise ValueError(f"{name} is {self.meaning}; got {value:g}, which float32 cannot hold. {self.advice}")
        if value not in self:
            raise ValueError(f"{name} is {self.meaning}, so it must lie in {self}; got {value:g}. {self.advice}")

    def __str__(self) -> str:
        return f"{'[' if self.low_inclusive else '('}{self.low:g}, {self.high:g}{']' if self.high_inclusive else ')'}"


BETA = Range(
    *(0.0, math.inf, False, False),
    meaning="the inverse temperature: how fast the loss saturates with the margin",
    advice="Start a denoiser at 2000 to 5000 (mean squared errors), a language model at 0.1.",
)
FLIP = Range(
    *(0.0, 0.5, True, False),
    meaning="the assumed share of mislabelled pairs",
    advice="For clean labels leave it at 0; above one half, swap chosen and rejected.",
)

"""Regression: how far a log-ratio, or a margin of two, is from what it is to be worth, squared."""

from __future__ import annotations

from torch import Tensor


def regressed(value: Tensor, worth: Tensor | float, *, beta: float, relative: bool) -> Tensor:
    """Squared distance of a log-ratio from the one whose reward is ``worth``.

        (value - worth / beta)^2                        relative: (beta value - worth)^2, the same times beta^2

    Args:
        value: ``(B,)`` in at least float32.
        worth: What ``beta`` times it is to be, a number or ``(B,)``.
        beta: Inverse temperature, > 0.
        relative: Measures the distance in units of ``1 / beta``.
    """
    return (beta * value - worth) ** 2 if relative else (value - worth / beta) ** 2

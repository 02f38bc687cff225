"""Regression: the squared distance of a logratio, or of a margin, from the one that has a given reward."""

from __future__ import annotations

from torch import Tensor


def regression_loss(logratio: Tensor, reward: Tensor | float, *, beta: float, relative: bool) -> Tensor:
    """Returns ``(B,)``, the squared distance of a logratio from its target.

        (logratio - reward / beta)^2                relative: (beta logratio - reward)^2, the same times beta^2

    Args:
        logratio: ``(B,)`` in at least float32; a margin of two as well.
        reward: The target of ``beta`` times it, a number or ``(B,)``.
        beta: Inverse temperature, > 0.
        relative: Measures the distance in units of ``1 / beta``.
    """
    return (beta * logratio - reward) ** 2 if relative else (logratio - reward / beta) ** 2

"""A sum of scores in different units, each normalised over the data set.

    total_i = sum over k of weight_k n_k(s_ik)
    n_k(s) = (s - mean_k) / deviation_k                "z-score"
    n_k(s) = (s - lowest_k) / (highest_k - lowest_k)   "min-max"

Mean, deviation and range are those of all samples in hand, so a total has a meaning within its data set only. A scorer
that gives every sample one score has no say.

Source: Liu et al. 2024 (arXiv 2412.14167) rank clips by such a sum over visual quality, steadiness and the prompt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from diffalign.errors import DataError, UserError, near_miss

Normalise = Literal["z-score", "min-max"]
WAYS = ("z-score", "min-max")


@dataclass(frozen=True)
class Term:
    """One scorer's part of the sum: weight x (score - offset) / scale.

    Args:
        scorer: Its name.
        weight: Its weight.
        offset, scale: Mean and deviation, or lowest score and range; a scale of 0 means no say.
    """

    scorer: str
    weight: float
    offset: float
    scale: float

    def value(self, score: float) -> float:
        """Returns the part of the sum of a score."""
        return self.weight * (score - self.offset) / self.scale if self.scale else 0.0

    def __str__(self) -> str:
        if not self.scale:
            return f"{self.scorer} has no say, as all its scores are {self.offset:.4g}"
        return f"{self.weight:g} x ({self.scorer} - {self.offset:.4g}) / {self.scale:.4g}"


def sum_of_scores(
    columns: Mapping[str, Sequence[float]], weights: Mapping[str, float] | None = None, how: Normalise = "z-score"
) -> tuple[list[float], tuple[Term, ...]]:
    """Computes the totals of all samples, and the terms of the sum.

    Args:
        columns: By scorer the scores of all samples.
        weights: By scorer its weight; 1 for those that are not named. A negative weight prefers low scores.
        how: How a scorer's scores are normalised.

    Raises:
        UserError: A weight names no scorer or is not finite, all weights are 0, or there is no such way.
        DataError: A score is not finite.
    """
    weights = dict(weights or {})
    if how not in WAYS:
        raise UserError(f"scores are normalised by {' or '.join(WAYS)}; got '{how}'.{near_miss(how, WAYS)}")
    for name, weight in weights.items():
        if name not in columns:
            raise UserError(
                f"there is a weight for '{name}', which is not among the scorers {', '.join(columns)}."
                f"{near_miss(name, columns)}"
            )
        if not math.isfinite(weight):
            raise UserError(f"the weight of '{name}' is {weight}; expected a finite number.")
    if not any(weights.get(name, 1.0) for name in columns):
        raise UserError("every scorer has weight 0, so nothing would decide. Give one another weight.")
    terms = tuple(_term(name, column, weights.get(name, 1.0), how) for name, column in columns.items())
    rows = zip(*columns.values(), strict=True)
    return [math.fsum(term.value(s) for term, s in zip(terms, row, strict=True)) for row in rows], terms


def _term(name: str, column: Sequence[float], weight: float, how: Normalise) -> Term:
    if wrong := [score for score in column if not math.isfinite(score)]:
        raise DataError(f"{name} gave the score {wrong[0]}, which cannot be added to others. Use another scorer.")
    low, high = min(column), max(column)
    if low == high:
        return Term(name, weight, low, 0.0)
    if how == "min-max":
        return Term(name, weight, low, high - low)
    mean = math.fsum(column) / len(column)
    return Term(name, weight, mean, math.sqrt(math.fsum((score - mean) ** 2 for score in column) / len(column)))

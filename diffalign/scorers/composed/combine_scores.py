"""Ways to make one score of several that are on one scale.

sum                   sum_m w_m z_m
mean                  M = sum_m w_m z_m / sum_m w_m
worst                 min_m z_m
mean_minus_std        M - k sqrt(V),      V = sum_m w_m (z_m - M)^2 / sum_m w_m
mean_minus_variance   M - k V
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from diffalign.errors import ConfigError, near_miss
from diffalign.printable import shown

Combine = Literal["sum", "mean", "worst", "mean_minus_std", "mean_minus_variance"]
WAYS = get_args(Combine)
PENALISED = ("mean_minus_std", "mean_minus_variance")
"""Ways in which disagreement costs."""


def combine_scores(columns: Tensor, weights: Tensor, combine: Combine, k: float = 1.0) -> Tensor:
    """Combines normalised scores.

    Args:
        columns: ``(M, B)``, by member.
        weights: ``(M,)``.
        combine: The way.
        k: Cost of disagreement.

    Returns:
        ``(B,)``.

    Facts: members that agree have one mean, whatever the weights and k; ``worst`` is never above ``mean``.
    """
    if combine == "worst":
        return columns.amin(0)
    total = (weights[:, None] * columns).sum(0)
    if combine == "sum":
        return total
    mean = total / weights.sum()
    if combine == "mean":
        return mean
    variance = (weights[:, None] * (columns - mean) ** 2).sum(0) / weights.sum()
    return mean - k * (variance.sqrt() if combine == "mean_minus_std" else variance)


def combined_range(
    ranges: Sequence[tuple[float, float]], weights: Sequence[float], combine: Combine, k: float = 1.0
) -> tuple[float, float]:
    """Returns bounds of :func:`combine_scores`, from the lowest and the highest ``z`` of each member."""
    lows, highs = zip(*ranges, strict=True)
    if combine == "worst":
        return min(lows), min(highs)
    ends = [sorted((w * low, w * high)) for w, low, high in zip(weights, lows, highs, strict=True) if w]
    total = 1.0 if combine == "sum" else sum(weights)
    low, high = sum(end[0] for end in ends) / total, sum(end[1] for end in ends) / total
    if combine in PENALISED and k > 0:
        half = (max(highs) - min(lows)) / 2  # no standard deviation is larger
        low = low - k * (half if combine == "mean_minus_std" else half**2) if math.isfinite(half) else -math.inf
    return low, high


def check_combination(count: int, combine: str, k: float, name: str) -> None:
    """Raises ConfigError for an unknown way, too few members for it, or a k that is no number of 0 or more."""
    if combine not in WAYS:
        near = near_miss(str(combine), WAYS)
        raise ConfigError(f"{name}: combine is one of {', '.join(WAYS)}; got {shown(str(combine))}.{near}")
    if count < 1 + (combine != "sum"):
        raise ConfigError(f"{name}: {combine} needs two members or more; got {count}.")
    if combine in PENALISED and not (math.isfinite(k) and k >= 0):
        raise ConfigError(f"{name}: k is 0 or more, as it is what disagreement costs; got {k:g}.")

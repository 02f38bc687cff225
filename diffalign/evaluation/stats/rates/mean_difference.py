"""The mean difference of two models' scores, in the scorer's unit, with a bootstrap interval over prompts."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from diffalign.evaluation.stats.prompt_groups import number_prompts
from diffalign.evaluation.stats.rates.bootstrap import bootstrap_over_prompts


@dataclass(frozen=True)
class MeanDifference:
    """How much higher the first of two samples scores on average.

    Args:
        value: The mean over comparisons.
        low, high: Its 95 % interval; nan with one prompt.
        n: Number of comparisons with two finite scores.
    """

    value: float
    low: float
    high: float
    n: int


def mean_difference(
    first: Sequence[float] | np.ndarray,
    second: Sequence[float] | np.ndarray,
    prompts: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
) -> MeanDifference:
    """Returns the mean of ``first - second`` over the comparisons with two finite scores.

    Args:
        first, second: Scores, ``(N,)`` each; position i of both shares prompt and seed.
        prompts: ``(N,)``; None if all are distinct.
        seed: Seed of the bootstrap.
    """
    gaps = np.asarray(first, np.float64).reshape(-1) - np.asarray(second, np.float64).reshape(-1)
    finite = np.isfinite(gaps)
    groups = range(len(gaps)) if prompts is None else prompts
    cluster = number_prompts([group for group, keep in zip(groups, finite, strict=True) if keep])
    gaps = gaps[finite]
    if not len(gaps):
        return MeanDifference(math.nan, math.nan, math.nan, 0)
    sums, sizes = np.bincount(cluster, gaps), np.bincount(cluster)
    low, high = bootstrap_over_prompts(sums, sizes, seed=seed) if len(sums) > 1 else (math.nan, math.nan)
    return MeanDifference(float(gaps.mean()), low, high, len(gaps))

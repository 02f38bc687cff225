"""Controlled win rate: how often the aligned sample would win if both samples of a pair were equal in some features.

A logistic regression of the outcome on differences of features, evaluated at no difference:

    P(aligned wins) = s(a + sum_k b_k x_k),        rate = s(a)

Ties count as half a win. One half of a win and of a loss at no difference, and a weak normal prior on ``b``, keep all
finite if one side or one feature always wins. The interval is the delta method's on ``a``, with the larger of two
variances: that of the curvature, and one that allows for dependent samples of a prompt (a sandwich over prompts).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from diffalign.evaluation.stats.prompt_groups import number_prompts
from diffalign.evaluation.stats.rates.share import Z

PRIOR = 3.0
"""Standard deviation of the prior on each ``b``."""
MIN_COMPARISONS = 10
"""Fewest comparisons for a fit of one feature; each further feature needs ten more."""


@dataclass(frozen=True)
class ControlledRate:
    """A win rate at equal features.

    Args:
        rate: ``s(a)``, in [0, 1].
        low, high: Its 95 % interval.
        slopes: ``b``, one per feature: above 0 the judge prefers the sample with more of it.
        n: Number of comparisons.
    """

    rate: float
    low: float
    high: float
    slopes: tuple[float, ...]
    n: int


def controlled_rate(
    outcome: np.ndarray, features: np.ndarray, prompts: Sequence[Hashable] | None = None
) -> ControlledRate | None:
    """Fits the regression and returns the win rate at equal features.

    Args:
        outcome: ``(N,)``: 1 for a win of the aligned sample, 1/2 for a tie, 0 for a loss.
        features: ``(N, K)``, functions of aligned minus base that are 0 where both are equal, each of a size near 1.
        prompts: ``(N,)``, the prompt of each comparison; None if all are distinct.

    Returns:
        None with fewer than ten comparisons per feature.

    Facts: swapping the two sides turns the rate into 1 minus it; if no feature predicts the outcome, the rate is the
        plain win rate.
    """
    n, count = features.shape
    if n < MIN_COMPARISONS * max(count, 1):
        return None
    design = np.hstack([np.ones((n, 1)), features])
    design, target = np.append(design, [[1.0] + [0.0] * count], axis=0), np.append(outcome, 0.5)  # halves, as one tie
    weights, precision = np.zeros(count + 1), np.diag([0.0] + [1.0 / PRIOR**2] * count)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -60.0, 60.0)))
        hessian = (design * (p * (1 - p))[:, None]).T @ design + precision
        step = np.linalg.solve(hessian, design.T @ (target - p) - precision @ weights)
        weights += step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-10:
            break
    cluster = number_prompts(range(n) if prompts is None else prompts)
    groups = int(cluster.max()) + 1
    scores = np.zeros((groups, count + 1))
    np.add.at(scores, cluster, (design * (target - p)[:, None])[:-1])
    inverse = np.linalg.inv(hessian)
    robust = inverse @ (scores.T @ scores) @ inverse * (groups / max(groups - 1, 1))
    error = math.sqrt(max(robust[0, 0], inverse[0, 0]))
    rate, low, high = (1.0 / (1.0 + math.exp(-x)) for x in (weights[0], weights[0] - Z * error, weights[0] + Z * error))
    return ControlledRate(rate, low, high, tuple(map(float, weights[1:])), n)

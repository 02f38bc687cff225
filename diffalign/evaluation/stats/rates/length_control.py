"""Length-controlled win rate: how often the aligned sample would win if both samples of a pair had equal lengths.

A logistic regression of the outcome on the difference of lengths, evaluated at no difference:

    P(aligned wins) = s(a + b tanh(d / sd)),      d = length aligned - length base,   sd its standard deviation
    rate = s(a)

Ties count as half a win. One half of a win and of a loss at no difference, and a weak normal prior on ``b``, keep both
finite if one side or the longer sample always wins. The interval is the delta method's on ``a``, with the larger of two
variances: that of the curvature, and one that allows for dependent samples of a prompt (a sandwich over prompts).

Source: Dubois et al. 2024 (arXiv 2404.04475): their regression, without the term for the difficulty of a prompt, which
takes many models to estimate.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from diffalign.evaluation.stats.rates.share import Z

PRIOR = 3.0
"""Standard deviation of the prior on ``b``."""
MIN_COMPARISONS = 10
"""Fewest comparisons for a fit."""


@dataclass(frozen=True)
class LengthControlled:
    """A win rate at equal lengths.

    Args:
        rate: ``s(a)``, in [0, 1].
        low, high: Its 95 % interval.
        slope: ``b``: above 0 the judge prefers longer samples; it is the change of the log-odds from no difference to a
            very large one.
        n: Number of comparisons.
    """

    rate: float
    low: float
    high: float
    slope: float
    n: int


def length_controlled(
    first: Sequence[float],
    second: Sequence[float],
    gaps: Sequence[float],
    prompts: Sequence[Hashable] | None = None,
) -> LengthControlled | None:
    """Fits the regression and returns the win rate at equal lengths.

    Args:
        first, second: Scores of the aligned and of the base sample, ``(N,)`` each.
        gaps: ``(N,)``, aligned length minus base length.
        prompts: ``(N,)``, the prompt of each comparison; ``None`` if all are distinct.

    Returns:
        None with fewer than ten finite comparisons, or if all differences of lengths are equal.

    Facts: swapping the two sides turns the rate into 1 minus it; if length does not predict the outcome, the rate is
        the plain win rate.
    """
    a, b, gap = (np.asarray(values, np.float64).reshape(-1) for values in (first, second, gaps))
    keep = np.isfinite(a) & np.isfinite(b)
    groups = np.array([hash(p) for p in prompts]) if prompts is not None else np.arange(len(a))
    outcome, gap, groups = (np.sign(a - b)[keep] + 1) / 2, gap[keep], groups[keep]
    spread = gap.std(ddof=1) if len(gap) > 1 else 0.0
    if len(outcome) < MIN_COMPARISONS or spread == 0.0:
        return None
    design = np.stack([np.ones_like(gap), np.tanh(gap / spread)], axis=1)
    design, outcome = np.append(design, [[1.0, 0.0]], axis=0), np.append(outcome, 0.5)  # both halves, as one tie
    weights, precision = np.zeros(2), np.diag([0.0, 1.0 / PRIOR**2])
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ weights, -60.0, 60.0)))
        hessian = (design * (p * (1 - p))[:, None]).T @ design + precision
        step = np.linalg.solve(hessian, design.T @ (outcome - p) - precision @ weights)
        weights += step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-10:
            break
    _, cluster = np.unique(groups, return_inverse=True)
    count = int(cluster.max()) + 1
    scores = np.zeros((count, 2))
    np.add.at(scores, cluster, (design * (outcome - p)[:, None])[:-1])
    inverse = np.linalg.inv(hessian)
    robust = inverse @ (scores.T @ scores) @ inverse * (count / max(count - 1, 1))
    error = math.sqrt(max(robust[0, 0], inverse[0, 0]))
    rate, low, high = (1.0 / (1.0 + math.exp(-x)) for x in (weights[0], weights[0] - Z * error, weights[0] + Z * error))
    return LengthControlled(rate, low, high, float(weights[1]), len(gap))

"""Sparsity of a front: how far apart neighbouring trade-offs lie. A front with gaps leaves tastes without a model.

    sparsity = 1 / (N - 1) sum over objectives k, i of (p_k(i) - p_k(i+1))^2,        p_k sorted by objective k

over the N points of the front. Smaller is denser. It says nothing of how good the points are: read it beside the
hypervolume.

Source: Xu et al. 2020, "Prediction-guided multi-objective reinforcement learning" (ICML), section 3.
"""

from __future__ import annotations

import math

import numpy as np

from diffalign.evaluation.stats.objectives.pareto_front import pareto_front


def sparsity(points: np.ndarray) -> float:
    """Returns the sparsity of the front of points, ``(N, K)``; nan if fewer than two distinct points are on it.

    Facts: dominated and repeated points change nothing; a factor on all objectives counts squared.
    """
    points = np.asarray(points, np.float64)
    front = np.unique(points[pareto_front(points)], axis=0)
    if len(front) < 2:
        return math.nan
    return float((np.diff(np.sort(front, axis=0), axis=0) ** 2).sum() / (len(front) - 1))

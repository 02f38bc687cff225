"""Pareto dominance: one set of scores dominates another if it is nowhere lower and somewhere higher.

What nothing dominates is the front: each of its points is the best for some taste, and between two of them only a taste
can decide. Scores need no common unit for this, because each is compared with its own kind only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


def pareto_front(points: np.ndarray) -> np.ndarray:
    """Returns which points are on the front, ``(N,)`` bool.

    Args:
        points: ``(N, K)``, K objectives of which higher is better. A point with nan is on no front.

    Facts: equal points are on it together; the best point of any objective has an equal or a better one on it.
    """
    points = np.asarray(points, np.float64)
    known = ~np.isnan(points).any(1)
    kept = points[known]
    front = np.array([not ((kept >= point).all(1) & (kept > point).any(1)).any() for point in kept], bool)
    result = np.zeros(len(points), bool)
    result[known] = front
    return result


@dataclass(frozen=True)
class Dominance:
    """Numbers of comparisons by who is better on several judges.

    Args:
        better: The first is nowhere lower and somewhere higher.
        worse: The second is.
        traded: Each is higher on one judge at least.
        equal: All judges score both alike.
    """

    better: int
    worse: int
    traded: int
    equal: int

    @property
    def n(self) -> int:
        """Number of comparisons."""
        return self.better + self.worse + self.traded + self.equal


def dominance(first: np.ndarray, second: np.ndarray) -> Dominance:
    """Counts how often the first of two samples dominates the second, over comparisons with finite scores.

    Args:
        first, second: Scores, ``(N, K)`` each; position i of both shares prompt and seed.
    """
    gaps = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    gaps = gaps[np.isfinite(gaps).all(1)]
    up, down = (gaps > 0).any(1), (gaps < 0).any(1)
    return Dominance(*(int(which.sum()) for which in (up & ~down, down & ~up, up & down, ~up & ~down)))

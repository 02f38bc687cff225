"""Hypervolume: how much of the space of scores a set of points dominates, counted from a reference point.

    HV(P, r) = volume of { z : r <= z <= p for some p in P }

It grows when a point moves up in any objective and when a trade-off is filled in, and it is in the product of the
objectives' units: bring them to one scale first (standard deviations of the base's scores, with the base as ``r``).

Source: Zitzler and Thiele 1999, IEEE Transactions on Evolutionary Computation 3. Exact, by slices along the last
objective: fine for tens of points and a handful of objectives.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffalign.errors import UserError
from diffalign.evaluation.stats.objectives.pareto_front import pareto_front


def hypervolume(points: np.ndarray, reference: Sequence[float]) -> float:
    """Returns the hypervolume.

    Args:
        points: ``(N, K)``, higher is better. A point that is not above the reference in every objective adds nothing.
        reference: ``(K,)``.

    Raises:
        UserError: The two have different numbers of objectives.

    Facts: dominated and repeated points change nothing; a shift of points and reference changes nothing; a factor on
        one objective is a factor on the volume.
    """
    heights = np.asarray(points, np.float64)
    origin = np.asarray(reference, np.float64)
    if heights.ndim != 2 or heights.shape[1] != len(origin):
        raise UserError(
            f"a hypervolume needs points (N, K) and a reference of K numbers; got {heights.shape} and {origin.shape}."
        )
    heights = heights - origin
    return _volume(heights[(heights > 0).all(1)])


def _volume(points: np.ndarray) -> float:
    """Returns the volume above 0 of points that are positive in every objective."""
    if not len(points):
        return 0.0
    if points.shape[1] == 1:
        return float(points.max())
    points = np.unique(points[pareto_front(points)], axis=0)
    points = points[np.argsort(-points[:, -1], kind="stable")]
    tops = np.append(points[:, -1], 0.0)
    # Between two heights of the last objective, the points that reach the upper one dominate the same area.
    slices = (
        _volume(points[: k + 1, :-1]) * (tops[k] - tops[k + 1]) for k in range(len(points)) if tops[k] > tops[k + 1]
    )
    return float(sum(slices))

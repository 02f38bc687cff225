"""Expected utility: what a set of models is worth to a user whose taste is not known yet.

    EU(P) = E over w of max over p in P of sum_k w_k p_k,        w >= 0, sum_k w_k = 1, uniform

A user with weights ``w`` takes the model that is best by them. Unlike the hypervolume it is linear in the scores and
needs no reference point; like it, it needs objectives on one scale.

Source: Zintgraf et al. 2015, "Quality assessment of MORL algorithms: a utility-based approach"; Hayes et al. 2022
(arXiv 2103.09568), section 8.
"""

from __future__ import annotations

import numpy as np

from diffalign.errors import UserError

WEIGHTS = 4096
"""Number of weight vectors, from a scrambled Sobol sequence: the error is about 1e-4 of the scores' range."""


def expected_utility(points: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the expected utility of the best point.

    Args:
        points: ``(N, K)``, N >= 1 points, higher is better.
        weights: ``(W, K)``, the tastes to average over; None draws :data:`WEIGHTS` evenly from the simplex.

    Raises:
        UserError: There are no points, or weights of another number of objectives.

    Facts: one point has the mean of its scores; dominated points change nothing; adding a constant to an objective adds
        a K-th of it.
    """
    scores = np.asarray(points, np.float64)
    if scores.ndim != 2 or not len(scores):
        raise UserError(f"an expected utility needs one point (N, K) or more; got shape {scores.shape}.")
    tastes = simplex_weights(scores.shape[1]) if weights is None else np.asarray(weights, np.float64)
    if tastes.ndim != 2 or tastes.shape[1] != scores.shape[1]:
        raise UserError(f"each weight needs {scores.shape[1]} numbers, one per objective; got shape {tastes.shape}.")
    return float((tastes @ scores.T).max(1).mean())


def simplex_weights(objectives: int, count: int = WEIGHTS) -> np.ndarray:
    """Returns evenly spread weights ``(count, objectives)``, each row 0 or more with sum 1: always the same ones."""
    from scipy.stats import qmc

    uniform = qmc.Sobol(objectives, scramble=True, seed=0).random(count)
    exponential = -np.log1p(-uniform)
    return exponential / exponential.sum(1, keepdims=True)

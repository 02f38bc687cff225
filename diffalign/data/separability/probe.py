"""The probe: logistic regression with an L2 penalty, and how well its scores separate two classes.

    minimise  sum_i log(1 + exp(-s_i (x_i . w + b))) + penalty / 2 |w|^2        s_i = +1 or -1

Features are standardised by the mean and the standard deviation of the rows that it is fitted on; constant features
are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier.

    Args:
        centre, spread: ``(D,)``, mean and standard deviation of the rows that it was fitted on.
        weights: ``(D,)``, for standardised features.
        bias: Added to every score.
    """

    centre: Array
    spread: Array
    weights: Array
    bias: float

    def score(self, features: Array) -> Array:
        """Returns scores ``(N,)``, positive where the predicted label is true."""
        scores: Array = ((features - self.centre) / self.spread) @ self.weights + self.bias
        return scores


def fit_probe(features: Array, labels: Array, penalty: float = 1.0) -> Probe:
    """Fits a probe. The problem is convex and solved from zero, so that equal data give equal weights.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` booleans.
        penalty: Weight of the L2 term, > 0; the bias is not penalised.
    """
    from scipy.optimize import minimize

    features = np.asarray(features, dtype=np.float64)
    centre, spread = features.mean(0), features.std(0)
    constant = spread <= 1e-9 * np.maximum(1.0, np.abs(centre))
    spread = np.where(constant, 1.0, spread)
    rows, signs = (features - centre) / spread, np.where(labels, 1.0, -1.0)
    rows[:, constant] = 0.0

    def cost_and_gradient(values: Array) -> tuple[float, Array]:
        weights, bias = values[:-1], values[-1]
        margins = signs * (rows @ weights + bias)
        slopes = -signs * np.exp(-np.logaddexp(0.0, margins))  # -s sigmoid(-s score), the derivative by the score
        total = np.logaddexp(0.0, -margins).sum() + 0.5 * penalty * weights @ weights
        return float(total), np.append(rows.T @ slopes + penalty * weights, slopes.sum())

    start, options = np.zeros(features.shape[1] + 1), {"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8}
    solution = minimize(cost_and_gradient, start, jac=True, method="L-BFGS-B", options=options).x
    return Probe(centre, spread, np.where(constant, 0.0, solution[:-1]), float(solution[-1]))


def accuracy(scores: Array, labels: Array) -> float:
    """Returns the share of rows whose score has the sign of their label; a score of exactly 0 counts half."""
    signs = np.where(labels, 1.0, -1.0) * scores
    return float(np.mean((signs > 0) + 0.5 * (signs == 0)))


def auc(scores: Array, labels: Array) -> float:
    """Returns the area under the ROC curve: how often a true row scores above a false one, with ties as one half. NaN
    without rows of both classes.
    """
    from scipy.stats import rankdata

    labels = np.asarray(labels, dtype=bool)
    positive, negative = int(labels.sum()), int((~labels).sum())
    if not positive or not negative:
        return float("nan")
    above = rankdata(scores)[labels].sum() - positive * (positive + 1) / 2
    return float(above / (positive * negative))


def held_out_scores(
    features: Array, labels: Array, groups: Sequence[str], *, folds: int = 5, penalty: float = 1.0
) -> Array:
    """Returns each row's score by a probe that was fitted without its fold, ``(N,)``.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` booleans.
        groups: The group of each row: rows of one group share a fold.
        folds: Number of folds, at most the number of groups.
        penalty: See :func:`fit_probe`.

    Raises:
        ValueError: There are fewer than two groups.
    """
    fold = folds_of(groups, folds)
    scores = np.zeros(len(labels))
    for number in range(fold.max() + 1):
        in_fold = fold == number
        scores[in_fold] = fit_probe(features[~in_fold], labels[~in_fold], penalty).score(features[in_fold])
    return scores


def folds_of(groups: Sequence[str], folds: int) -> Array:
    """Returns the fold of each row, ``(N,)``. The order of the groups depends only on their names."""
    from hashlib import blake2b

    names = sorted(set(groups), key=lambda name: blake2b(name.encode("utf-8", "surrogatepass")).digest())
    if len(names) < 2:
        raise ValueError("held-out scores need two groups at least")
    fold_of = {name: number % min(folds, len(names)) for number, name in enumerate(names)}
    return np.array([fold_of[name] for name in groups])

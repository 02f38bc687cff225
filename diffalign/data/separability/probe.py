"""The probe: logistic regression with an L2 penalty, and how well its scores tell two classes apart.

    minimise  sum_i log(1 + exp(-s_i (x_i . w + b))) + penalty / 2 |w|^2        s_i = +1 or -1

Features are standardised by the mean and spread of the rows that it is fitted on; one without spread is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Probe:
    """A fitted rule.

    Args:
        centre, spread: ``(D,)``, of the rows it was fitted on.
        weights: ``(D,)``, of standardised features.
        bias: Added to every score.
    """

    centre: Array
    spread: Array
    weights: Array
    bias: float

    def score(self, features: Array) -> Array:
        """``(N,)``: positive where the rule says true."""
        found: Array = ((features - self.centre) / self.spread) @ self.weights + self.bias
        return found


def fit_probe(features: Array, labels: Array, penalty: float = 1.0) -> Probe:
    """Fits a probe. It is a convex problem, solved from zero: equal data give equal weights.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` booleans.
        penalty: Weight of the L2 term, > 0; the bias is free.
    """
    from scipy.optimize import minimize

    features = np.asarray(features, dtype=np.float64)
    centre, spread = features.mean(0), features.std(0)
    flat = spread <= 1e-9 * np.maximum(1.0, np.abs(centre))
    spread = np.where(flat, 1.0, spread)
    rows, signs = (features - centre) / spread, np.where(labels, 1.0, -1.0)
    rows[:, flat] = 0.0

    def cost(values: Array) -> tuple[float, Array]:
        weights, bias = values[:-1], values[-1]
        margins = signs * (rows @ weights + bias)
        pull = -signs * np.exp(-np.logaddexp(0.0, margins))  # -s sigmoid(-s score), the slope by the score
        total = np.logaddexp(0.0, -margins).sum() + 0.5 * penalty * weights @ weights
        return float(total), np.append(rows.T @ pull + penalty * weights, pull.sum())

    start = np.zeros(features.shape[1] + 1)
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-8})
    return Probe(centre, spread, np.where(flat, 0.0, found.x[:-1]), float(found.x[-1]))


def accuracy(scores: Array, labels: Array) -> float:
    """Share of rows on their own side of zero; a score of exactly 0 counts half."""
    signs = np.where(labels, 1.0, -1.0) * scores
    return float(np.mean((signs > 0) + 0.5 * (signs == 0)))


def auc(scores: Array, labels: Array) -> float:
    """Area under the ROC curve: how often a true row scores above a false one, ties half. NaN without both."""
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
    """``(N,)``: each row's score by a probe that was fitted without its fold.

    Args:
        features: ``(N, D)``.
        labels: ``(N,)`` booleans.
        groups: What must not be split, one name per row: rows of one group share a fold.
        folds: How many; no more than there are groups.
        penalty: See :func:`fit_probe`.

    Raises:
        ValueError: fewer than two groups.
    """
    fold = folds_of(groups, folds)
    scores = np.zeros(len(labels))
    for number in range(fold.max() + 1):
        out = fold == number
        scores[out] = fit_probe(features[~out], labels[~out], penalty).score(features[out])
    return scores


def folds_of(groups: Sequence[str], folds: int) -> Array:
    """``(N,)``: the fold of each row. Groups are dealt out in an order that their names alone decide."""
    from hashlib import blake2b

    names = sorted(set(groups), key=lambda name: blake2b(name.encode("utf-8", "surrogatepass")).digest())
    if len(names) < 2:
        raise ValueError("held-out scores need two groups at least")
    dealt = {name: number % min(folds, len(names)) for number, name in enumerate(names)}
    return np.array([dealt[name] for name in groups])

"""Best of n: the mean score of the sample that a judge prefers out of n, estimated without bias from N samples.

Of N scored samples in ascending order of the judge that picks, with ``g_i`` another judge's score of the i-th:

    E[g of the best of n] = sum_{i=n..N} C(i-1, n-1) / C(N, n) g_i,        KL(best of n || base) <= log n - (n-1)/n

The estimate is unbiased, because every subset of n counts once; picking the best of the first n of them would have the
same mean and a larger variance, and the best of n drawn with replacement another mean.

Sources: Coste et al. 2023 (arXiv 2310.02743) for the estimate; the divergence is reached by continuous scores, and ties
make it smaller (Beirami et al. 2024, arXiv 2401.01879).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def kl_of_best(n: int) -> float:
    """Returns the KL of the best of ``n`` from a single sample, nats: ``log n - (n - 1) / n``."""
    return math.log(n) - (n - 1) / n


def best_of_n(picked_by: Sequence[float], judged_by: Sequence[float], n: int) -> float:
    """Returns the unbiased estimate of a judge's mean score of the best of ``n``.

    Args:
        picked_by: ``(N,)``, scores of the judge that picks.
        judged_by: ``(N,)``, scores of the judge whose mean is estimated.
        n: In 1 ... N.

    Facts: ``n = 1`` is the mean, ``n = N`` the score of the sample at the top; samples that tie for the picker share
        the mean of their scores.
    """
    picks, scores = np.asarray(picked_by, np.float64), np.asarray(judged_by, np.float64)
    count = len(picks)
    assert 1 <= n <= count == len(scores), "n lies between 1 and the number of samples, each with two scores"
    for value in np.unique(picks):
        scores = np.where(picks == value, scores[picks == value].mean(), scores)
    ordered = scores[np.argsort(picks, kind="stable")]
    weights = [math.comb(i - 1, n - 1) / math.comb(count, n) for i in range(1, count + 1)]
    return float(np.dot(weights, ordered))

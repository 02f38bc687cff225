"""Kendall's tau: how far two judges order things alike, whatever their units.

    tau_b = (concordant - discordant) / sqrt((pairs without ties in x) (pairs without ties in y))

Source: Kendall 1945, Biometrika 33, by scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def kendall_tau(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> float:
    """Returns tau-b of two judges' numbers, ``(N,)`` each, over positions where both are finite.

    Returns:
        In [-1, 1]; nan with fewer than two positions, or if a judge gives all of them one number.

    Facts: a rising function of either judge's numbers changes nothing; negating one of them flips the sign.
    """
    from scipy.stats import kendalltau

    x, y = np.asarray(first, np.float64), np.asarray(second, np.float64)
    keep = np.isfinite(x) & np.isfinite(y)
    x, y = x[keep], y[keep]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(kendalltau(x, y).statistic)

"""Effect sizes of paired differences: how large a difference is, where a p-value says how certain it is.

    d_z = mean(x) / sd(x)                                           in standard deviations of the differences
    r   = (sum of ranks of x > 0 - sum of ranks of x < 0) / sum     ranks of |x|, without zeros, in [-1, 1]

Sources: Cohen 1988, section 2.3.5; the matched-pairs rank-biserial correlation of Kerby 2014, Comprehensive
Psychology 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class EffectSize:
    """The size of a paired difference.

    Args:
        d_z: Cohen's d of the differences: 0.2 is called small, 0.5 medium, 0.8 large; infinite if all are equal.
        rank_biserial: In [-1, 1]; 1 if every difference is positive.
    """

    d_z: float
    rank_biserial: float


def effect_size(differences: Sequence[float] | np.ndarray) -> EffectSize:
    """Returns the effect sizes of differences, ``(P,)``; nan with fewer than two, and 0 where all are 0.

    Facts: the signs of all differences flip the signs of both; a positive factor changes neither.
    """
    from scipy.stats import rankdata

    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return EffectSize(math.nan, math.nan)
    if not values.any():
        return EffectSize(0.0, 0.0)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    is_constant = np.ptp(values) == 0  # where rounding leaves a spread of its own
    some = values[values != 0]
    ranks = rankdata(np.abs(some))
    return EffectSize(
        math.copysign(math.inf, mean) if is_constant else mean / spread,
        float((ranks * np.sign(some)).sum() / ranks.sum()),
    )

"""Wilcoxon's signed-rank test: like the sign test, but large differences count more than small ones.

It assumes that differences are symmetric around their median; the sign test assumes nothing, and finds less.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def wilcoxon_test(differences: Sequence[float] | np.ndarray) -> float:
    """Returns the two-sided p-value against a median difference of 0; 1 without a difference.

    Args:
        differences: ``(P,)`` independent differences, such as means over the samples of a prompt. Zeros are left out.

    Facts: exact for up to 50 differences without ties, otherwise by the normal approximation; scale and sign of all
        differences do not change it.

    Source: Wilcoxon 1945, Biometrics Bulletin 1, by scipy.
    """
    from scipy.stats import wilcoxon

    values = np.asarray(differences, np.float64)
    values = values[values != 0]
    return float(wilcoxon(values).pvalue) if len(values) else 1.0

"""Vendi score: the effective number of different samples.

    V = exp(-sum_i l_i log l_i),        l the eigenvalues of K / N

with ``K`` the similarities of N samples, 1 for a sample with itself. N samples that have nothing in common score N, N
copies of one score 1, and two groups of copies score 2. Unlike a mean distance it grows with the number of samples, so
compare it at equal numbers only.

Source: Friedman and Dieng 2022 (arXiv 2210.02410).
"""

from __future__ import annotations

import math

import numpy as np

from diffalign.errors import UserError


def vendi_score(similarity: np.ndarray) -> float:
    """Returns the effective number of samples, in [1, N]; nan without samples.

    Args:
        similarity: ``(N, N)``, symmetric, positive semidefinite, with ones on the diagonal.

    Raises:
        UserError: The matrix is not one of similarities.

    Facts: the order of samples does not count; repeating every sample equally often changes nothing.
    """
    matrix = np.asarray(similarity, np.float64)
    if matrix.size == 0:
        return math.nan
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    if not square or not np.allclose(matrix, matrix.T, atol=1e-5) or not np.allclose(np.diag(matrix), 1, atol=1e-4):
        raise UserError(
            f"a Vendi score needs a symmetric matrix of similarities with ones on its diagonal; got shape "
            f"{matrix.shape}. Divide each feature vector by its length before taking products."
        )
    values = np.linalg.eigvalsh(matrix / len(matrix))
    shares = values[values > 1e-12]  # rounding leaves eigenvalues below 0
    return float(np.exp(-(shares * np.log(shares)).sum()))

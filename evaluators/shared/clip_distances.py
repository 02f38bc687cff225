"""Distances of clips: the Fréchet distance of two sets of features, and PSNR and SSIM of two clips frame by frame."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from diffalign.errors import DataError


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the Fréchet distance of two sets of features, as if each were normally distributed.

        |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^1/2 S2 S1^1/2)^1/2)

    Args:
        first, second: ``(N, D)`` and ``(M, D)`` features, at least two rows each.

    Facts: computed in float64 by eigenvalues of symmetric matrices, so it is real and at least 0 (up to rounding) also
    where there are fewer rows than features; in float32 the difference of its large parts is mostly rounding. It is
    biased upwards by few rows: compare only sets of equal sizes.

    Source: Heusel et al. 2017 (arXiv 1706.08500), eq. 6; for clips Unterthiner et al. 2018 (arXiv 1812.01717).
    """
    one, two = (np.asarray(features, np.float64) for features in (first, second))
    if one.ndim != 2 or two.ndim != 2 or one.shape[1] != two.shape[1] or min(len(one), len(two)) < 2:
        raise DataError(
            f"features of clips are vectors of one length, at least two on each side; got {one.shape} and {two.shape}."
        )
    (mean_one, cov_one), (mean_two, cov_two) = (
        (features.mean(0), np.atleast_2d(np.cov(features, rowvar=False))) for features in (one, two)
    )
    root = _root(cov_one)
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ cov_two @ root), 0, None)).sum()
    value = ((mean_one - mean_two) ** 2).sum() + np.trace(cov_one) + np.trace(cov_two) - 2 * cross
    return float(max(value, 0.0))


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the mean PSNR of the frames of two clips ``(F, H, W, 3)`` uint8, in dB; equal frames count as 100."""
    errors = ((first.astype(np.float64) - second) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean([100.0 if error == 0 else min(100.0, 10 * np.log10(255**2 / error)) for error in errors]))


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the mean SSIM of the frames of two clips ``(F, H, W, 3)`` uint8, 1 for equal ones.

        ssim = (2 m1 m2 + c1)(2 s12 + c2) / ((m1^2 + m2^2 + c1)(s1^2 + s2^2 + c2))

    with c1 = (0.01 * 255)^2 and c2 = (0.03 * 255)^2, Gaussian weights of deviation 1.5 within 5 pixels, per channel,
    over the pixels whose window is whole.

    Source: Wang et al. 2004 (IEEE TIP 13), section III.
    """
    return float(
        np.mean([_ssim(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(first, second, strict=True)])
    )


def _ssim(one: np.ndarray, two: np.ndarray) -> float:
    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma=(1.5, 1.5, 0), radius=(5, 5, 0))[5:-5, 5:-5]

    if min(one.shape[:2]) < 11:
        raise DataError(f"SSIM needs frames of at least 11 pixels on a side; got {one.shape[1]} x {one.shape[0]}.")
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_one, mean_two = blur(one), blur(two)
    var_one, var_two = blur(one * one) - mean_one**2, blur(two * two) - mean_two**2
    covariance = blur(one * two) - mean_one * mean_two
    top = (2 * mean_one * mean_two + c1) * (2 * covariance + c2)
    return float((top / ((mean_one**2 + mean_two**2 + c1) * (var_one + var_two + c2))).mean())

"""Over-optimisation curve: how a judge's score follows the drift from the reference, and where it turns.

    training:     gain(d) = d (alpha - beta log d),        turns at d = exp(alpha / beta - 1) if beta > 0
    best of n:    gain(d) = d (alpha - beta d),            turns at d = alpha / (2 beta) if both are > 0

with ``d`` the square root of the KL divergence. A judge that the training pleases and a held-out one share the shape
and differ in ``beta``; where the held-out one turns, more training makes samples worse while the trained-on judge still
rises. Two parameters on a handful of noisy checkpoints are a description, not a forecast: the fit is read inside the
range of drifts only.

Sources: Gao et al. 2022 (arXiv 2210.10760), equations of section 3; Rafailov et al. 2024 (arXiv 2406.02900) fit the
training form to DPO and its relatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffalign.errors import UserError

Form = Literal["training", "best of n"]
MIN_POINTS = 4
"""Fewest points with a drift for a fit of two parameters."""


@dataclass(frozen=True)
class OverOptimisation:
    """A fitted curve.

    Args:
        form: Which of the two curves.
        alpha, beta: Its parameters, in the judge's unit per square root of a nat.
        peak: The drift (KL, not its root) in 0 ... ``largest`` at which the curve is highest.
        r_squared: Share of the gains' squares around their mean that the curve explains; below 0 it is worse than a
            constant.
        largest: The largest drift of the points.
    """

    form: Form
    alpha: float
    beta: float
    peak: float
    r_squared: float
    largest: float

    @property
    def turns(self) -> bool:
        """Whether the curve is lower at the largest drift than before."""
        return self.peak < self.largest

    def gain(self, drift: float) -> float:
        """Returns the fitted gain at a drift, 0 or more."""
        return _gain(math.sqrt(drift), self.alpha, self.beta, self.form)


def fit_over_optimisation(
    drifts: Sequence[float], gains: Sequence[float], form: Form = "training"
) -> OverOptimisation | None:
    """Fits the curve by least squares.

    Args:
        drifts: ``(N,)``, KL divergences from the reference; those that are not above 0 say nothing and are left out.
        gains: ``(N,)``, the judge's mean score minus that at the reference.
        form: The curve: of a training, or of the best of n samples.

    Returns:
        None with fewer than four distinct drifts above 0 with a finite gain.

    Raises:
        UserError: The form is unknown.
    """
    if form not in ("training", "best of n"):
        raise UserError(f"the curve is that of 'training' or 'best of n'; got '{form}'.")
    x, y = np.asarray(drifts, np.float64), np.asarray(gains, np.float64)
    keep = np.isfinite(x) & np.isfinite(y) & (x > 0)
    root, y = np.sqrt(x[keep]), y[keep]
    if len(np.unique(root)) < MIN_POINTS:
        return None
    bend = np.log(root) if form == "training" else root
    (alpha, beta), *_ = np.linalg.lstsq(np.stack([root, -root * bend], 1), y, rcond=None)
    error = y - root * (alpha - beta * bend)
    spread = float(((y - y.mean()) ** 2).sum())
    return OverOptimisation(
        form=form,
        alpha=float(alpha),
        beta=float(beta),
        peak=_peak(float(root.max()), float(alpha), float(beta), form) ** 2,
        r_squared=1 - float((error**2).sum()) / spread if spread > 0 else math.nan,
        largest=float(root.max()) ** 2,
    )


def _gain(root: float, alpha: float, beta: float, form: Form) -> float:
    bend = math.log(root) if form == "training" and root > 0 else root
    return root * (alpha - beta * bend)


def _peak(end: float, alpha: float, beta: float, form: Form) -> float:
    """Returns the root of the drift in [0, end] at which the curve is highest."""
    candidates = [end, 0.0]
    if form == "training" and beta > 0:
        candidates.append(math.exp(min(alpha / beta - 1, 700.0)))
    if form == "best of n" and beta > 0:
        candidates.append(alpha / (2 * beta))
    return max((root for root in candidates if 0 <= root <= end), key=lambda root: _gain(root, alpha, beta, form))

"""Calibration of ``s(beta h)`` as the probability that the chosen candidate is better.

The order of a likelihood model is more reliable than its probabilities: an increasing transform of the margins keeps
ranks, but not probabilities. One factor on the margins, fitted on held-out pairs, corrects the most common error,
overconfidence, and keeps every rank.

Source: Guo et al. 2017 (arXiv 1706.04599), expected calibration error and temperature; of confidences in [1/2, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 10
LOWEST, HIGHEST = 1e-3, 1e3
"""The range of the fitted factor."""


@dataclass(frozen=True)
class Calibration:
    """How well the probabilities of pairs are calibrated.

    Args:
        error: Expected calibration error, 0 to 1/2: mean distance of confidence and accuracy over equally wide bins
            of confidence, weighted by their pairs.
        brier: Mean squared distance of probability and outcome; 1/4 for always one half.
        nll: Mean negative log-likelihood, nats; log 2 for always one half.
        factor: The positive factor on the margins that minimises ``nll``: below 1 the probabilities are overconfident.
            Limited to its range, 0.001 to 1000.
        fitted: ``nll`` with that factor.
    """

    error: float
    brier: float
    nll: float
    factor: float
    fitted: float


def calibration(margin: Tensor, outcome: Tensor) -> Calibration:
    """Compares reward margins with outcomes.

    Args:
        margin: ``(B,)``, B at least 1: ``beta h`` of pairs, finite.
        outcome: ``(B,)`` in [0, 1]: 1 where the chosen candidate is the better one, a share where raters differ.
    """
    margin, outcome = margin.double(), outcome.double()
    p = torch.sigmoid(margin)
    confidence, correct = torch.maximum(p, 1.0 - p), torch.where(margin > 0, outcome, 1.0 - outcome)
    correct = torch.where(margin == 0, 0.5, correct)
    bins = ((confidence - 0.5) * 2.0 * BINS).long().clamp_(0, BINS - 1)
    sums = torch.zeros(BINS, dtype=torch.double).index_add_(0, bins.cpu(), (confidence - correct).cpu())
    factor = best_factor(margin, outcome)
    return Calibration(
        error=float(sums.abs().sum()) / len(margin),
        brier=float(((p - outcome) ** 2).mean()),
        nll=likelihood(margin, outcome),
        factor=factor,
        fitted=likelihood(factor * margin, outcome),
    )


def likelihood(margin: Tensor, outcome: Tensor) -> float:
    """Returns the mean negative log-likelihood of outcomes under ``s(margin)``; arguments as of :func:`calibration`."""
    return float((outcome * F.softplus(-margin) + (1.0 - outcome) * F.softplus(margin)).mean())


def best_factor(margin: Tensor, outcome: Tensor) -> float:
    """Returns the positive factor on margins under which outcomes are likeliest, by bisection on the slope (the problem
    is convex); nan where every margin is 0. Arguments as of :func:`calibration`.
    """

    def slope(factor: float) -> float:
        losing, winning = torch.sigmoid(-factor * margin), torch.sigmoid(factor * margin)
        return float((margin * ((1.0 - outcome) * winning - outcome * losing)).mean())

    if not bool(margin.any()):
        return math.nan
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if slope(math.exp(middle)) <= 0 else (low, middle)
    return math.exp((low + high) / 2)

"""ODPO: the logistic loss with a target margin that grows with the gap of the candidates' rewards."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range

SMALLEST = 1e-6
"""Smallest gap of rewards: the logarithm of 0 is minus infinity."""


@checked
def odpo(logps: PairLogps, *, beta: float, alpha: float = 1.0, growth: str = "log") -> Tensor:
    """Direct preference optimisation with an offset.

        loss_b = -log s(beta m_b - alpha f(r_w - r_l)),      f = log, or the number itself

    Args:
        logps: ``B`` pairs against a reference, with rewards.
        beta: Inverse temperature, > 0.
        alpha: How strongly the offset counts, 0 or more; 0 is the logistic loss.
        growth: "log": the logarithm of the gap of rewards, chosen minus rejected; the offset is negative for gaps below
            1. "linear": the gap itself.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: the loss is log 2 where the margin equals the offset, in units of ``1 / beta``. Under "log" a pair whose
        rewards are equal, or contradict its label, has almost no gradient.

    Source: Amini et al. 2024 (arXiv 2402.10571); the logarithm and alpha = 1 are those of its released code.
    """
    u = beta * logps.margin
    gap = (logps.reward("chosen") - logps.reward("rejected")).to(u)
    offset = torch.log(gap.clamp(min=SMALLEST)) if growth == "log" else gap
    return -F.logsigmoid(u - alpha * offset)


ODPO = Loss(
    name="odpo",
    function=odpo,
    takes="logps",
    needs=("reference", "rewards"),
    summary="ODPO: the logistic loss with a target margin that grows with the gap of rewards",
    formula="-log s(beta m - alpha f(r_w - r_l)), f = log or the gap itself",
    source="Amini et al. 2024, arXiv 2402.10571",
    papers=(
        Paper("2402.10571", "Amini and Vieira and Cotterell", 2024, "Direct Preference Optimization with an Offset"),
    ),
    advice="When the data have rewards, not only an order, and pairs are few. Scale the rewards so that a typical gap "
    "is a few units: log depends little on their scale, linear does.",
    limits={
        "beta": BETA,
        "alpha": Range(
            *(0.0, math.inf, True, False),
            meaning="how strongly the gap of rewards counts",
            advice="Start at 1 for log, the paper's, which tried 0.5 too; 0 leaves it out.",
        ),
    },
    choices={"growth": ("log", "linear")},
    at_zero=lambda h: None if h["alpha"] else math.log(2.0),
)

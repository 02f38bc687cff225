"""MaPO: fine-tuning on the chosen candidate plus a bounded margin to the rejected one, without a reference."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range

SERIES = (1.0, -1 / 2, 1 / 12, 0.0, -1 / 720, 0.0, 1 / 30240, 0.0, -1 / 1209600, 0.0, 1 / 47900160)
"""Taylor coefficients of the link, the Bernoulli numbers over factorials."""
NEAR = 0.25
"""Bound of the series: its first dropped term is 3e-17 there, while the quotient's gradient cancels like eps / x."""


@checked
def mapo(logps: PairLogps, *, k: float = 0.5, temperature: float = 1000.0, weight: float = 0.1) -> Tensor:
    """Margin-aware preference optimisation of denoisers.

        loss_b = e_w - weight log s(temperature (phi(k e_w) - phi(k e_l))),      phi(l) = l / (exp(l) - 1)

    with the errors ``e = -2 logp`` of the policy and ``s`` the logistic sigmoid.

    Args:
        logps: ``B`` pairs of a denoiser; a reference is not read.
        k: Factor on the errors before the link, > 0.
        temperature: Factor on the gap of the links, > 0. Large, because the links of near-equal errors are near-equal.
        weight: Factor on the margin's loss, 0 or more. 0 is fine-tuning on the chosen candidates, ``sft`` with scale 2.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: equal errors cost ``e + weight log 2``. The link falls from 1 at error 0 to 0, so an error that is already
        large changes the margin little: the gradient on a rejected candidate vanishes. Swapping the candidates
        changes the first term too, so the loss is no function of one margin.

    Source: Hong et al. 2024 (arXiv 2406.06424). The paper modulates the link by a temperature and leaves open whether
        as an exponent or as a factor (a link bounded in (0, 1) suggests the exponent); this is the factor, with the
        defaults of the released code.
    """
    chosen, rejected = logps.pair
    e_w, e_l = -2.0 * upcast(chosen.logps), -2.0 * upcast(rejected.logps)
    return e_w - weight * F.logsigmoid(temperature * (phi(k * e_w) - phi(k * e_l)))


def phi(x: Tensor) -> Tensor:
    """Returns the link ``x / (exp(x) - 1)``, 1 at 0; value and gradient are precise near 0 and do not overflow."""
    near = x.abs() < NEAR
    small = torch.where(near, x, 0.0)
    series = torch.full_like(x, SERIES[-1])
    for coefficient in reversed(SERIES[:-1]):
        series = series * small + coefficient
    # On |x|, where exp(-x) cannot overflow; phi(-x) = phi(x) + x.
    size = torch.where(near, 1.0, x.abs())
    quotient = size * torch.exp(-size) / -torch.expm1(-size) + F.relu(-x)
    return torch.where(near, series, quotient)


MAPO = Loss(
    name="mapo",
    function=mapo,
    takes="logps",
    needs=(),
    uses_absolute_logps=True,
    media=("image", "video"),
    summary="MaPO: fine-tuning on the chosen candidate plus a bounded margin, without a reference",
    formula="e_w - weight log s(temperature (phi(k e_w) - phi(k e_l))), e = -2 logp, phi(l) = l / (exp(l) - 1)",
    source="Hong et al. 2024, arXiv 2406.06424; defaults of the released code",
    papers=(
        Paper(
            "2406.06424",
            "Hong and Paul and others",
            2024,
            "Margin-aware Preference Optimization for Aligning Diffusion Models without Reference",
        ),
    ),
    advice="When there is no memory or time for a reference. Nothing keeps the policy near its start: use a low "
    "learning rate and watch diversity. The defaults are those published for SDXL.",
    limits={
        "k": Range(
            *(0.0, math.inf, False, False),
            meaning="the factor on the errors before the link",
            advice="Leave it at 0.5.",
        ),
        "temperature": Range(
            *(0.0, math.inf, False, False),
            meaning="the factor on the gap of the links: how fast the loss saturates",
            advice="Leave it at 1000.",
        ),
        "weight": Range(
            *(0.0, math.inf, True, False),
            meaning="the factor on the margin's loss, added to the chosen candidate's error",
            advice="Leave it at 0.1; 0 is plain fine-tuning.",
        ),
    },
    at_zero=None,
)

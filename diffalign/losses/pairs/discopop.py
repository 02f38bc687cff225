"""DiscoPOP: a loss curve that a language model found in a search over loss functions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.paper import Paper
from diffalign.losses.probability import bounded_exp
from diffalign.losses.ranges import BETA, Range


@checked
def discopop(margin: Tensor, *, beta: float, temperature: float = 0.05) -> Tensor:
    """Logistic and exponential loss, blended by the margin itself.

        loss_b = -(1 - g) log s(u) + g exp(-u),      u = beta m_b,      g = s(u / temperature)

    Args:
        margin: ``(B,)``, as for the logistic loss.
        beta: Inverse temperature, > 0.
        temperature: Width of the transition between the two, > 0, in units of ``1 / beta``.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: ``(log 2 + 1) / 2`` at margin 0, with slope ``-beta [3 - (1 - log 2) / temperature] / 4``. With a temperature
        below a tenth that slope is positive: around zero the loss rises from the logistic curve to the exponential
        one, which lies higher, so there is a small local maximum, and pairs may stop before it.

    Source: Lu et al. 2024 (arXiv 2406.08414), eq. 5 (log-ratio modulated loss).
    """
    u = beta * upcast(margin)
    share = u / temperature
    # One exponential in place of a product: for a very negative margin the factors are 0 and infinity.
    exponential = bounded_exp(F.logsigmoid(share) - u)
    return exponential - torch.sigmoid(-share) * F.logsigmoid(u)


DISCOPOP = Loss(
    name="discopop",
    function=discopop,
    summary="DiscoPOP: logistic for negative margins, exponential for positive ones",
    formula="-(1 - g) log s(u) + g exp(-u), u = beta m, g = s(u / temperature)",
    source="Lu et al. 2024, arXiv 2406.08414, eq. 5",
    papers=(
        Paper(
            "2406.08414",
            "Lu and Holt and others",
            2024,
            "Discovering Preference Optimization Algorithms with and for Large Language Models",
        ),
    ),
    advice="A curve found by search, not derived: compare with logistic before trusting it. At the default temperature "
    "it is not convex around margin 0, where training begins.",
    limits={
        "beta": BETA,
        "temperature": Range(
            *(0.0, math.inf, False, False),
            meaning="the width of the transition between the two curves",
            advice="Leave it at 0.05, as published; from 0.12 on the loss falls everywhere.",
        ),
    },
    at_zero=lambda h: (math.log(2.0) + 1.0) / 2.0,
    slope_at_zero=lambda h: -h["beta"] * (3.0 - (1.0 - math.log(2.0)) / h["temperature"]) / 4.0,
    optimum=lambda h: math.inf,
)

"""Logistic losses on a pair with a weight on the reference's gap, or on the rejected candidate."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range


@checked
def dpo_gamma(logps: PairLogps, *, beta: float, gamma: float) -> Tensor:
    """The logistic loss with a weight on the reference's own ranking.

        loss_b = -log s(beta [(logp_w - logp_l) - gamma (reference_w - reference_l)])

    Args:
        logps: ``B`` pairs against a reference.
        beta: Inverse temperature, > 0.
        gamma: Weight of the reference's gap, 0 or more: 1 is the logistic loss, 0 reads the policy only.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: a reference that ranks a pair wrongly by ``c`` nats lets the logistic loss fall to ``-log s(beta c)`` before
        the policy ranks it rightly; with ``gamma < 1`` that pair costs more until then. Where the policy equals its
        reference the loss is that of ``(1 - gamma)`` times the reference's gap: log 2 for gamma 1 only.

    Source: Chen et al. 2024 (arXiv 2405.19534), the loss with a weighted reference.
    """
    policy, reference = logps.gaps
    return -F.logsigmoid(beta * (policy - gamma * reference))


@checked
def flex_dpo(logps: PairLogps, *, beta: float, beta_rejected: float) -> Tensor:
    """The logistic loss with a smaller beta for the rejected candidate.

        loss_b = -log s(beta R_w - beta_rejected R_l)

    with the logratios ``R``.

    Args:
        logps: ``B`` pairs against a reference.
        beta: Inverse temperature of the chosen candidate's logratio, > 0.
        beta_rejected: That of the rejected one, 0 or more; below ``beta`` it is pushed down less than the chosen one is
            pulled up. 0 ignores it.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: the two gradients have the ratio ``beta_rejected / beta``, for every pair. Equal betas are the logistic loss.
        Smaller is not always better: far below ``beta`` the rejected candidate becomes likelier than the chosen one
        where the two share their parameters.

    Source: Yan et al. 2024 (arXiv 2406.07327), Flex-DPO, from its description: two coefficients, the rejected one's
        slightly smaller.
    """
    chosen, rejected = logps.logratios
    return -F.logsigmoid(beta * chosen - beta_rejected * rejected)


DPO_GAMMA = Loss(
    name="dpo_gamma",
    function=dpo_gamma,
    takes="logps",
    summary="DPO with the reference's ranking weighted by gamma: below 1 its mistakes weigh less",
    formula="-log s(beta [(logp_w - logp_l) - gamma (reference_w - reference_l)])",
    source="Chen et al. 2024, arXiv 2405.19534",
    papers=(
        Paper(
            "2405.19534",
            "Chen and Malladi and others",
            2024,
            "Preference Learning Algorithms Do Not Learn Preference Rankings",
        ),
    ),
    advice="When the reference ranks many pairs wrongly and DPO never corrects them. Stay near 1 with a denoiser: the "
    "errors of two images differ mostly by their content.",
    limits={
        "beta": BETA,
        "gamma": Range(
            *(0.0, math.inf, True, False),
            meaning="the weight of the reference's own gap",
            advice="1 is the logistic loss; try 0.75 or 0.5.",
        ),
    },
    at_zero=lambda h: math.log(2.0) if h["gamma"] == 1.0 else None,
)

FLEX_DPO = Loss(
    name="flex_dpo",
    function=flex_dpo,
    takes="logps",
    summary="Flex-DPO: a smaller beta for the rejected candidate, so that it is pushed down less",
    formula="-log s(beta R_w - beta_rejected R_l)",
    source="Yan et al. 2024, arXiv 2406.07327",
    papers=(
        Paper(
            "2406.07327",
            "Yan and Miao and others",
            2024,
            "3D-Properties: Identifying Challenges in DPO and Charting a Path Forward",
        ),
    ),
    advice="When rewards/rejected falls fast and rewards/chosen falls with it. Lower it in small steps: a "
    "beta_rejected of 0.8 times beta, not a third of it.",
    limits={
        "beta": BETA,
        "beta_rejected": Range(
            *(0.0, math.inf, True, False),
            meaning="the inverse temperature of the rejected candidate's logratio",
            advice="Start at 0.8 times beta: 0.08 with a beta of 0.1.",
        ),
    },
    at_zero=lambda h: math.log(2.0),
)

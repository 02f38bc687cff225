"""VPO: the logistic loss, plus the likelihood of a further answer that sets the level of rewards."""

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
def vpo(
    logps: PairLogps,
    *,
    beta: float,
    alpha: float = 0.01,
    sign: str = "offline",
    clip: float = 0.0,
    calibration_per_token: bool = False,
) -> Tensor:
    """Value-incentivised preference optimisation.

        loss_b = -log s(beta m_b) -+ alpha clip(beta R_b)            - offline, + online

    with the logratio ``R`` of a further answer, "calibration", whose mean reward is to be 0.

    Args:
        logps: ``B`` pairs against a reference, with the calibration answer: a sample of the reference, or any answer
            of the data.
        beta: Inverse temperature, > 0.
        alpha: Weight of the calibration's reward, 0 or more; 0 is the logistic loss.
        sign: "offline": stay near the calibration answers, a pessimistic choice for fixed data. "online": move away
            from them, to explore, where the policy samples its pairs itself.
        clip: Largest size of a calibration answer's reward, beyond which it has no gradient; 0: no limit. Online these
            rewards fall without bound.
        calibration_per_token: Uses the calibration answer's logratio per token: sums over long answers are large. This
            option is not in the paper.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at equal policy and reference the loss is log 2. With the chosen answers as calibration, offline, it is
        ``rpo`` with eta = alpha, minus a term of the reference only. Online with samples of the reference it is the
        optimism of exploratory preference optimisation (XPO), whose alpha is ``alpha beta``.

    Source: Cen et al. 2024 (arXiv 2405.19320), with the loss derived from its objective.
    """
    answer = logps.answer("calibration")
    reward = beta * answer.logratio
    if calibration_per_token and answer.policy.lengths is not None:
        reward = reward / answer.policy.lengths.to(reward).clamp(min=1.0)
    if clip:
        reward = reward.clamp(-clip, clip)
    return -F.logsigmoid(beta * logps.margin) + (alpha if sign == "online" else -alpha) * reward


VPO = Loss(
    name="vpo",
    function=vpo,
    takes="logps",
    roles=("calibration",),
    summary="VPO: the logistic loss and the likelihood of a calibration answer, up offline, down online",
    formula="-log s(beta m) -+ alpha clip(beta R_calibration), - offline, + online",
    source="Cen et al. 2024, arXiv 2405.19320",
    papers=(
        Paper(
            "2405.19320",
            "Cen and Mei and others",
            2024,
            "Value-Incentivized Preference Optimization: A Unified Approach to Online and Offline RLHF",
        ),
    ),
    advice="Offline against over-optimisation on few pairs; online to explore. With the chosen answers for calibration "
    "choose rpo, which needs no further answer. Start with alpha 0.01 or per token: sums over long answers are large.",
    limits={
        "beta": BETA,
        "alpha": Range(
            *(0.0, math.inf, True, False),
            meaning="the weight of the calibration answer's reward",
            advice="Start at 0.01; 0 leaves it out.",
        ),
        "clip": Range(
            *(0.0, math.inf, True, False),
            meaning="the largest size of a calibration answer's reward",
            advice="Leave it at 0 for none; online set it where rewards of calibration answers diverge.",
        ),
    },
    choices={"sign": ("offline", "online")},
    at_zero=lambda h: math.log(2.0),
)

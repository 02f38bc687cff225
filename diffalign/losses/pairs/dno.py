"""DNO: the logistic loss with soft labels from the gap of the two candidates' rewards."""

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


@checked
def dno(logps: PairLogps, *, beta: float, scale: float = 1.0, target: str = "soft", gap: float = 0.0) -> Tensor:
    """Direct Nash optimisation.

        loss_b = -z log s(beta m_b) - (1 - z) log s(-beta m_b),      z = s(scale (r_w - r_l)); hard: z = 1
        loss_b = 0 where |r_w - r_l| < gap

    Args:
        logps: ``B`` pairs against a reference, the state of the policy that sampled them, with rewards: mean win rates
            against its answers.
        beta: Inverse temperature, > 0; the paper's eta.
        scale: Factor on the difference of rewards, > 0. Win rates differ by 1 at most, so 1 keeps z within 0.27 and
            0.73.
        target: "soft", the label that follows from the rewards; or "hard", the chosen candidate's.
        gap: Smallest difference of rewards for a pair to count, 0 or more.

    Returns:
        ``(B,)``, one loss per pair; 0 for pairs that do not count.

    Facts: at margin 0 the loss is log 2 for every reward. The soft one is least at ``beta m = scale (r_w - r_l)``, so
        the policy becomes the reference times ``exp(r scale / beta)``. With z = 1 it is the logistic loss.

    Source: Rosset et al. 2024 (arXiv 2404.03715), algorithm 1; hard with a gap is the practical one, its eq. 13.
    """
    u = beta * logps.margin
    difference = (logps.reward("chosen") - logps.reward("rejected")).to(u)
    z = torch.sigmoid(scale * difference) if target == "soft" else torch.ones_like(u)
    loss = -z * F.logsigmoid(u) - (1.0 - z) * F.logsigmoid(-u)
    return torch.where(difference.abs() < gap, 0.0, loss)


DNO = Loss(
    name="dno",
    function=dno,
    takes="logps",
    needs=("reference", "rewards"),
    summary="DNO: the logistic loss with soft labels from the gap of the two candidates' rewards",
    formula="-z log s(beta m) - (1 - z) log s(-beta m), z = s(scale (r_w - r_l)); hard: z = 1; 0 below the gap",
    source="Rosset et al. 2024, arXiv 2404.03715, algorithm 1 and eq. 13",
    papers=(
        Paper(
            "2404.03715",
            "Rosset and Cheng and others",
            2024,
            "Direct Nash Optimization: Teaching Language Models to Self-Improve with General Preferences",
        ),
    ),
    advice="When the data have rewards, not only an order; in rounds, on a model's own answers. The paper's runs use "
    "target: hard with a gap of 2 points out of 6, beta 0.05 to 0.1.",
    limits={
        "beta": BETA,
        "scale": Range(
            *(0.0, math.inf, False, False),
            meaning="the factor on the difference of rewards",
            advice="Leave it at 1 for win rates; divide by the spread of scores that are larger.",
        ),
        "gap": Range(
            *(0.0, math.inf, True, False),
            meaning="the smallest difference of rewards for a pair to count",
            advice="Leave it at 0 for all pairs.",
        ),
    },
    choices={"target": ("soft", "hard")},
    at_zero=lambda h: None if h["gap"] else math.log(2.0),
)

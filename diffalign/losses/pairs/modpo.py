"""MODPO: the logistic loss for one objective, with an offset from the rewards of the other objectives."""

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
def modpo(logps: PairLogps, *, beta: float, weight: float, curve: str = "logistic") -> Tensor:
    """Multi-objective direct preference optimisation.

        loss_b = -log s(u_b), or hinge: max(0, 1 - u_b),      u_b = (beta m_b - (g_w - g_l)) / weight

    with the weighted rewards of the other objectives for each candidate, ``g = sum_i w_i r_i``.

    Args:
        logps: ``B`` pairs against a reference, labelled by one objective; the rewards are the weighted sum of
            the other objectives': name them with their weights in the setting ``rewards``.
        beta: Inverse temperature, > 0.
        weight: The weight of the objective that labelled the pairs, 0.05 or more; with those of the others it usually
            sums to 1.
        curve: "logistic" or "hinge".

    Returns:
        ``(B,)``, one loss per pair.

    Facts: the best policy is the reference times ``exp((weight r + g) / beta)``. Weight 1 and no other reward is the
        logistic loss; rewards that are equal for both leave it at ``beta / weight``. Where the others favour the chosen
        candidate too, the same loss requires a larger margin.

    Source: Zhou et al. 2023 (arXiv 2310.03708), with the hinge of its released code.
    """
    margin = logps.margin
    offset = (logps.reward("chosen") - logps.reward("rejected")).to(margin)
    u = (beta * margin - offset) / weight
    return F.relu(1.0 - u) if curve == "hinge" else -F.logsigmoid(u)


MODPO = Loss(
    name="modpo",
    function=modpo,
    takes="logps",
    needs=("reference", "rewards"),
    summary="MODPO: the logistic loss for one objective, with an offset from the weighted rewards of others",
    formula="-log s(u) or max(0, 1 - u), u = (beta m - (g_w - g_l)) / weight, g = sum of the others' weighted rewards",
    source="Zhou et al. 2023, arXiv 2310.03708",
    papers=(
        Paper(
            "2310.03708",
            "Zhou and Liu and others",
            2023,
            "Beyond One-Preference-Fits-All Alignment: Multi-Objective Direct Preference Optimization",
        ),
    ),
    advice="For several objectives of which one labelled the pairs: rewards: {safety: 0.5} with weight 0.5, one run "
    "per weighting, and a Pareto front in the report. Scale the rewards to a spread of about one first.",
    limits={
        "beta": BETA,
        "weight": Range(
            *(0.05, math.inf, True, False),
            meaning="the weight of the objective that labelled the pairs",
            advice="All weights usually sum to 1; below 0.05 use pairs of another objective.",
        ),
    },
    choices={"curve": ("logistic", "hinge")},
    at_zero=lambda h: None,
)

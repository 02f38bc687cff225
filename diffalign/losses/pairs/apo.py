"""Anchored preference optimisation: a direction for the chosen candidate itself, not only for the gap of the two.

Here ``R`` are logratios and ``s`` is the logistic sigmoid, which is flat on both sides: far from 0 it has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA


@checked
def apo_zero(logps: PairLogps, *, beta: float) -> Tensor:
    """Anchored preference optimisation for chosen candidates that are better than the policy's samples.

        loss_b = 1 - s(beta R_w) + s(beta R_l)

    Args:
        logps: ``B`` pairs against a reference.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per pair, within 0 and 2.

    Facts: 1 where the policy equals its reference, with slopes ``-beta / 4`` and ``beta / 4``: the chosen candidate
        always up, the rejected one always down, independently. On a pair it is KTO with its baseline at zero.

    Source: D'Oosterlinck et al. 2024 (arXiv 2408.06266), eq. 7.
    """
    chosen, rejected = logps.logratios
    return torch.sigmoid(-beta * chosen) + torch.sigmoid(beta * rejected)


@checked
def apo_down(logps: PairLogps, *, beta: float) -> Tensor:
    """Anchored preference optimisation for chosen candidates that are worse than the policy's samples.

        loss_b = s(beta R_w) + 1 - s(beta (R_w - R_l))

    Args:
        logps: ``B`` pairs against a reference.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per pair, within 0 and 2.

    Facts: 1 where the policy equals its reference; there the chosen candidate is pulled neither way and the rejected
        one down by ``beta / 4``. Once the margin is larger than the chosen logratio, in size, both go down.

    Source: D'Oosterlinck et al. 2024 (arXiv 2408.06266), eq. 8.
    """
    return torch.sigmoid(beta * logps.chosen_logratio) + torch.sigmoid(-beta * logps.margin)


_PAPER = Paper(
    "2408.06266",
    "D'Oosterlinck and Xu and others",
    2024,
    "Anchored Preference Optimization and Contrastive Revisions: Addressing Underspecification in Alignment",
)
APO_ZERO = Loss(
    name="apo_zero",
    function=apo_zero,
    takes="logps",
    summary="APO-zero: chosen up and rejected down, independently and within bounds",
    formula="1 - s(beta R_w) + s(beta R_l)",
    source="D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 7",
    papers=(_PAPER,),
    advice="When the chosen answers are better than the model's samples, and DPO lets both likelihoods fall.",
    limits={"beta": BETA},
    at_zero=lambda h: 1.0,
)

APO_DOWN = Loss(
    name="apo_down",
    function=apo_down,
    takes="logps",
    summary="APO-down: both down, the rejected candidate more",
    formula="s(beta R_w) + 1 - s(beta (R_w - R_l))",
    source="D'Oosterlinck et al. 2024, arXiv 2408.06266, eq. 8",
    papers=(_PAPER,),
    advice="When the model is better than both answers and only their order can be learnt, as with pairs of a weaker "
    "model.",
    limits={"beta": BETA},
    at_zero=lambda h: 1.0,
)

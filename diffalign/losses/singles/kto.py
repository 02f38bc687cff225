"""KTO: single examples with a thumb up or down, as gains and losses relative to a common baseline."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range
from diffalign.losses.singles.sides import gains


@checked
def kto(logps: PairLogps, *, beta: float, desirable_weight: float = 1.0, undesirable_weight: float = 1.0) -> Tensor:
    """Kahneman-Tversky optimisation.

        loss_b = weight_b (1 - s(y_b beta (R_b - z))),      y = 1 where the example is desirable, else -1

    with the logratio ``R`` of the example and the baseline ``z`` of its batch, the paper's reference point.

    Args:
        logps: ``B`` single examples against a reference, with ``desirable`` and the batch's ``baseline``.
        beta: Inverse temperature, > 0.
        desirable_weight: Factor on the desirable examples' losses, 0 or more.
        undesirable_weight: Factor on the undesirable examples' losses.

    Returns:
        ``(B,)``, one loss per example, within 0 and its weight.

    Raises:
        ValueError: There is no baseline.

    Facts: at equal policy and reference (logratio and baseline 0) an example costs half its weight, with slope
        ``beta / 4`` times it. Far from the baseline the gradient vanishes on both sides: the loss is robust against
        hopeless examples and ignores those already learnt. The baseline has no gradient.

    Source: Ethayarajh et al. 2024 (arXiv 2402.01306), the loss of section 4; for images Li et al. 2024, Diffusion-KTO
        (arXiv 2404.04465), whose reward is ``-(e - e_reference)``: beta here is twice the one there.
    """
    gain, desirable = gains(logps, baseline="reference point")
    weight = torch.where(desirable, torch.full_like(gain, desirable_weight), torch.full_like(gain, undesirable_weight))
    return weight * torch.sigmoid(-beta * gain)


_WEIGHT = "the factor on the losses of {} examples"

KTO = Loss(
    name="kto",
    function=kto,
    takes="logps",
    kind="single",
    accepts_undesirable=True,
    needs=("reference", "kto_baseline"),
    summary="KTO: single examples with a thumb up or down, as gains and losses relative to a common baseline",
    formula="weight (1 - s(y beta (R - z))), y = 1 desirable, -1 not, z >= 0 the mean logratio of mismatched answers",
    source="Ethayarajh et al. 2024, arXiv 2402.01306, section 4; images: Li et al. 2024, arXiv 2404.04465",
    papers=(
        Paper(
            "2402.01306",
            "Ethayarajh and Xu and others",
            2024,
            "KTO: Model Alignment as Prospect Theoretic Optimization",
        ),
        Paper(
            "2404.04465",
            "Li and Kallidromitis and others",
            2024,
            "Aligning Diffusion Models by Optimizing Human Utility",
        ),
    ),
    advice="For thumbs up and down without pairs. It needs both classes; give the rare one the larger weight. The "
    "baseline is a mean over the whole batch, so small batches make it noisy.",
    limits={
        "beta": BETA,
        "desirable_weight": Range(
            *(0.0, math.inf, True, False),
            meaning=_WEIGHT.format("desirable"),
            advice="Leave it at 1; raise it where desirable examples are rare.",
        ),
        "undesirable_weight": Range(
            *(0.0, math.inf, True, False),
            meaning=_WEIGHT.format("undesirable"),
            advice="Leave it at 1; raise it where undesirable examples are rare.",
        ),
    },
    at_zero=lambda h: h["desirable_weight"] / 2.0 if h["desirable_weight"] == h["undesirable_weight"] else None,
)

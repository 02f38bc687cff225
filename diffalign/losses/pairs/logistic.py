"""Logistic losses on a pair: a Bradley-Terry model of the preferred candidate, with ``s`` the logistic sigmoid."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, FLIP


@checked
def logistic(margin: Tensor, *, beta: float, flip: float = 0.0) -> Tensor:
    """Logistic loss on paired preferences, with optional label noise.

        loss_b = -(1 - flip) log s(beta m_b) - flip log s(-beta m_b)

    Args:
        margin: ``(B,)``. How much more the policy favours the chosen candidate than the reference does: nats for token
            log-ratios, half a squared-error gap for denoisers.
        beta: Inverse temperature, > 0. Doubling it halves the margin needed for the same loss.
        flip: Assumed share of mislabelled pairs, in [0, 0.5).

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at margin 0 the loss is log 2 for every beta and flip, with slope ``-beta (1 - 2 flip) / 2``. With a flip its
        minimum is at ``log((1 - flip) / flip) / beta``; without one it has none.

    Sources: flip = 0 is Rafailov et al. 2023 (arXiv 2305.18290), eq. 7, and with denoising errors Wallace et al. 2023
        (arXiv 2311.12908), eq. 14; flip > 0 is Mitchell's note on noisy preferences (ericmitchell.ai/cdpo.pdf), eq. 3.
    """
    u = beta * upcast(margin)
    # Not log(sigmoid(u)), which is minus infinity from u = -89 on: beta is thousands for denoisers.
    return -(1.0 - flip) * F.logsigmoid(u) - flip * F.logsigmoid(-u)


@checked
def robust(margin: Tensor, *, beta: float, flip: float) -> Tensor:
    """Logistic loss, corrected so that its mean over randomly flipped labels is the clean loss.

        loss_b = [ -(1 - flip) log s(beta m_b) + flip log s(-beta m_b) ] / (1 - 2 flip)

    Args:
        margin: ``(B,)``, as for :func:`logistic`.
        beta: Inverse temperature, > 0.
        flip: Share of pairs whose label was flipped at random, in [0, 0.5).

    Returns:
        ``(B,)``, one loss per pair; negative for large margins.

    Facts: at margin 0 the loss is log 2, with slope ``-beta / (2 (1 - 2 flip))``. ``(1 - flip) L(m) + flip L(-m)`` is
        the loss without noise, for every margin. The slope never vanishes: margins may diverge.

    Source: Chowdhury et al. 2024, "Provably Robust DPO" (arXiv 2403.00409), the de-biased loss of section 3.
    """
    u = beta * upcast(margin)
    return (-(1.0 - flip) * F.logsigmoid(u) + flip * F.logsigmoid(-u)) / (1.0 - 2.0 * flip)


DPO_PAPER = Paper(
    "2305.18290",
    "Rafailov and Sharma and others",
    2023,
    "Direct Preference Optimization: Your Language Model is Secretly a Reward Model",
)
DIFFUSION_DPO_PAPER = Paper(
    "2311.12908",
    "Wallace and Dang and others",
    2023,
    "Diffusion Model Alignment Using Direct Preference Optimization",
)

LOGISTIC = Loss(
    name="logistic",
    function=logistic,
    per_token=False,
    summary="DPO: the log-loss of a Bradley-Terry model; flip > 0 smooths the labels (cDPO)",
    formula="-(1 - flip) log s(beta m) - flip log s(-beta m)",
    source="Rafailov et al. 2023, arXiv 2305.18290, eq. 7; Wallace et al. 2023, arXiv 2311.12908, eq. 14; "
    "flip: Mitchell, ericmitchell.ai/cdpo.pdf, eq. 3",
    papers=(
        DPO_PAPER,
        DIFFUSION_DPO_PAPER,
    ),
    advice="Start here. Watch both rewards: a growing margin with two falling rewards means that the policy forgets. "
    "Where votes contradict each other, a flip such as 0.1 keeps margins finite.",
    limits={"beta": BETA, "flip": FLIP},
    at_zero=lambda h: math.log(2.0),
    slope_at_zero=lambda h: -h["beta"] * (1.0 - 2.0 * h["flip"]) / 2.0,
    skew=lambda h: -h["beta"] * (1.0 - 2.0 * h["flip"]),
    optimum=lambda h: math.log((1.0 - h["flip"]) / h["flip"]) / h["beta"] if h["flip"] else math.inf,
    aliases=("sigmoid", "dpo"),
)

ROBUST = Loss(
    name="robust",
    function=robust,
    per_token=False,
    summary="rDPO: unbiased under labels flipped at a known rate",
    formula="[-(1 - flip) log s(beta m) + flip log s(-beta m)] / (1 - 2 flip)",
    source="Chowdhury et al. 2024, arXiv 2403.00409, section 3",
    papers=(
        Paper(
            "2403.00409",
            "Chowdhury and Kini and Natarajan",
            2024,
            "Provably Robust DPO: Aligning Language Models with Noisy Feedback",
        ),
    ),
    advice="When the rate of wrong labels is known. Do not tune the rate by this loss: it falls without bound as "
    "margins grow. Prefer logistic with a flip when the rate is a guess.",
    limits={"beta": BETA, "flip": FLIP},
    at_zero=lambda h: math.log(2.0),
    slope_at_zero=lambda h: -h["beta"] / (2.0 * (1.0 - 2.0 * h["flip"])),
    skew=lambda h: -h["beta"] / (1.0 - 2.0 * h["flip"]),
    optimum=lambda h: math.inf,
)

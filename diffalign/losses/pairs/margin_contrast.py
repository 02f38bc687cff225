"""Margin contrast: the same two answers should lie farther apart where the prompt asks for more of what one does."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA


def margin_contrast(logps: PairLogps, *, beta: float) -> Tensor:
    """Margin of one prompt against the margin of another.

        loss_b = -log s(beta (m'_b - m_b))

    with the pair's margin ``m`` and ``m'`` that of the same two candidates under an augmented prompt.

    Args:
        logps: ``B`` pairs against a reference with two further answers, "augmented_chosen" and "augmented_rejected":
            the same candidates under a prompt with instructions that the chosen one follows better.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at equal policy and reference it is log 2. It pulls the pair's own margin *down* as much as the other one up:
        a term beside a loss on the pair. Equal prompts cost log 2 and teach nothing.

    Source: Sun et al. 2025 (arXiv 2505.12845), the comparison between samples, rebuilt from its description. Its
        comparison within a sample, one answer under two prompts, is the logistic loss on pairs whose rejected candidate
        has a prompt of its own.
    """
    augmented = logps.answer("augmented_chosen").logratio - logps.answer("augmented_rejected").logratio
    return -F.logsigmoid(beta * (augmented - logps.margin))


MARGIN_CONTRAST = Loss(
    name="margin_contrast",
    function=margin_contrast,
    takes="logps",
    roles=("augmented_chosen", "augmented_rejected"),
    summary="the same two answers farther apart where the prompt asks for more of what the chosen one does",
    formula="-log s(beta (m' - m)), m' under the augmented prompt",
    source="Sun et al. 2025, arXiv 2505.12845",
    papers=(
        Paper(
            "2505.12845",
            "Sun and Cai and others",
            2025,
            "Multi-Level Aware Preference Learning: Enhancing RLHF for Complex Multi-Instruction Tasks",
        ),
    ),
    advice="When prompts carry several instructions that can be checked: a sum such as logistic + margin_contrast. Not "
    "alone: it pulls the pair's own margin down.",
    limits={"beta": BETA},
    at_zero=lambda h: math.log(2.0),
)

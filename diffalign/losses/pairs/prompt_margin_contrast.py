"""Margin contrast: a larger margin of the same answers under a prompt whose instructions one of them follows."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA


@checked
def margin_contrast(logps: PairLogps, *, beta: float) -> Tensor:
    """The margin under one prompt against the margin under another.

        loss_b = -log s(beta (m'_b - m_b))

    with the pair's margin ``m`` and ``m'`` that of the same two candidates under an augmented prompt.

    Args:
        logps: ``B`` pairs against a reference with two further answers, "augmented_chosen" and "augmented_rejected":
            the same candidates under a prompt with instructions that the chosen one follows better.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at equal policy and reference it is log 2. It pulls the pair's own margin *down* as much as the other one up:
        use it as a term added to a loss on the pair. Equal prompts cost log 2 and have no gradient.

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
    summary="a larger margin of the same two answers under a prompt whose instructions the chosen one follows",
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
    advice="When prompts have several instructions that can be checked: a sum such as logistic + margin_contrast. Do "
    "not use it without another loss: it pulls the pair's own margin down.",
    limits={"beta": BETA},
    at_zero=lambda h: math.log(2.0),
)

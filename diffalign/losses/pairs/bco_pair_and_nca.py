"""Losses on pairs that classify each of the two candidates by its own logratio ``R``."""

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
def bco_pair(logps: PairLogps, *, beta: float) -> Tensor:
    """Binary classifier optimisation on the two candidates of a pair, without a shift.

        loss_b = -log s(beta R_w) - log s(-beta R_l)

    Args:
        logps: ``B`` pairs against a reference.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: 2 log 2 where the policy equals its reference. Never below the logistic loss of the pair: with
        ``x = beta R_w`` and ``y = -beta R_l`` it is larger by ``log(1 + (e^-x + e^-y) / (1 + e^-(x + y)))``.

    Source: Jung et al. 2024 (arXiv 2404.04656), with the reward shift left at zero; on single examples the shift is a
        running mean.
    """
    chosen, rejected = logps.logratios
    return -F.logsigmoid(beta * chosen) - F.logsigmoid(-beta * rejected)


@checked
def nca(logps: PairLogps, *, beta: float) -> Tensor:
    """Noise contrastive alignment of a pair.

        loss_b = -log s(beta R_w) - 1/2 log s(-beta R_w) - 1/2 log s(-beta R_l)

    Args:
        logps: ``B`` pairs against a reference.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: 2 log 2 where the policy equals its reference, with slopes ``-beta / 4`` and ``beta / 4``. The chosen
        candidate has a finite target, ``R_w = log 2 / beta``; the rejected one is pushed down without bound.

    Source: Chen et al. 2024 (arXiv 2402.05369), the loss for preference data, with all reward on the chosen candidate.
    """
    chosen, rejected = (beta * ratio for ratio in logps.logratios)
    return -F.logsigmoid(chosen) - 0.5 * F.logsigmoid(-chosen) - 0.5 * F.logsigmoid(-rejected)


BCO_PAPER = Paper(
    "2404.04656",
    "Jung and Han and others",
    2024,
    "Binary Classifier Optimization for Large Language Model Alignment",
)

BCO_PAIR = Loss(
    name="bco_pair",
    function=bco_pair,
    takes="logps",
    summary="BCO on pairs: chosen candidates to the class 'good', rejected ones to 'bad', each by itself",
    formula="-log s(beta R_w) - log s(-beta R_l)",
    source="Jung et al. 2024, arXiv 2404.04656",
    papers=(BCO_PAPER,),
    advice="When the chosen candidate's likelihood should not fall with the rejected one's. For thumbs up and down "
    "take a loss on single examples.",
    limits={"beta": BETA},
    at_zero=lambda h: 2.0 * math.log(2.0),
)

NCA = Loss(
    name="nca",
    function=nca,
    takes="logps",
    summary="NCA: the chosen candidate up to a fixed logratio and held there, the rejected one down",
    formula="-log s(beta R_w) - 1/2 log s(-beta R_w) - 1/2 log s(-beta R_l)",
    source="Chen et al. 2024, arXiv 2402.05369",
    papers=(
        Paper(
            "2402.05369",
            "Chen and He and others",
            2024,
            "Noise Contrastive Alignment of Language Models with Explicit Rewards",
        ),
    ),
    advice="When DPO makes chosen answers less likely: the authors report gains in mathematics and code.",
    limits={"beta": BETA},
    at_zero=lambda h: 2.0 * math.log(2.0),
    aliases=("nca_pair",),
)

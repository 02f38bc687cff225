"""Segments: a loss on pairs with a discount per token, so that the beginning of a step counts most."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import AnswerLogps, PairLogps
from diffalign.losses.pairs.cpl import CPL_PAPER
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range


@checked
def segment(logps: PairLogps, *, beta: float, discount: float = 1.0) -> Tensor:
    """Regret preference on segments.

        loss_b = -log s(beta (A(y_w) - A(y_l))),      A(y) = sum_t discount^t (log pi(y_t|.) - log ref(y_t|.))

    where ``t`` counts the scored tokens from 0. ``beta log(pi / ref)`` of a token is its advantage, so ``-beta A`` is
    the segment's regret against the best continuation.

    Args:
        logps: ``B`` pairs against a reference, with parts.
        beta: Inverse temperature, > 0.
        discount: Weight of each token relative to the one before it, (0, 1].

    Returns:
        ``(B,)``, one loss per pair.

    Raises:
        ValueError: Log-probabilities without parts.

    Facts: with a discount of 1 it is the logistic loss, on whole answers or, with ``model.shared_start: prompt``, on
        the steps from their first difference on. Partial returns and regrets agree on whole answers to one prompt,
        which have the same first and last state; on steps they differ, and this is the regret.

    Source: Knox et al. 2022 (arXiv 2206.02231), the regret model; for policies Hejna et al. 2023 (arXiv 2310.13639),
        here against a reference.
    """
    chosen, rejected = (_advantage(answer, discount) for answer in logps.answers)
    return -F.logsigmoid(beta * (chosen - rejected))


def _advantage(answer: AnswerLogps, discount: float) -> Tensor:
    ratios = answer.part_logratios
    steps = torch.arange(ratios.shape[1], device=ratios.device, dtype=ratios.dtype)
    return (discount**steps * ratios).sum(1)


SEGMENT = Loss(
    name="segment",
    function=segment,
    takes="logps",
    needs=("reference", "parts"),
    media=("text",),
    summary="regret preference on segments: later tokens count less",
    formula="-log s(beta (A_w - A_l)), A = sum_t discount^t logratio_t",
    source="Knox et al. 2022, arXiv 2206.02231; for policies Hejna et al. 2023, arXiv 2310.13639",
    papers=(
        Paper(
            "2206.02231",
            "Knox and Hatgis-Kessell and others",
            2022,
            "Models of Human Preference for Learning Reward Functions",
        ),
        CPL_PAPER,
    ),
    advice="To compare steps, not answers: with model.shared_start: prompt and a discount below 1 the tokens right "
    "after the first difference decide. With a discount of 1 it is the logistic loss.",
    limits={
        "beta": BETA,
        "discount": Range(
            *(0.0, 1.0, False, True),
            meaning="the weight of each token relative to the one before it",
            advice="1 weights all tokens equally; 0.99 halves the weight after 69 tokens.",
        ),
    },
    at_zero=lambda h: math.log(2.0),
)

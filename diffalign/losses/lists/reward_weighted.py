"""Reward-weighted regression: fine-tuning on a prompt's answers, the better ones weighted more."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.lists.leave_one_out import rewards_of
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range


@checked
def reward_weighted(logps: PairLogps, *, temperature: float) -> Tensor:
    """Weighted likelihood of a list.

        loss_b = - sum_i w_i logp_i,      w = softmax(v / temperature)

    with the log-probabilities and rewards ``v`` of its answers.

    Args:
        logps: ``B`` lists with rewards; no reference is read.
        temperature: In units of the rewards, > 0.

    Returns:
        ``(B,)``, one loss per list.

    Facts: weights add up to 1; a constant added to all rewards changes nothing. A high temperature is fine-tuning on
        all answers alike, a low one on the best alone. No answer is ever pushed down. On answers of a model it leads
        to that model times ``exp(v / temperature)``, as lists grow.

    Source: Peng et al. 2019 (arXiv 1910.00177), advantage-weighted regression, with weights normalised over each
        prompt's answers.
    """
    likelihoods = torch.stack([upcast(answer.policy.in_full.logps) for answer in logps.ranked.values()], 1)
    weights = (rewards_of(logps).to(likelihoods) / temperature).softmax(1)
    return -(weights * likelihoods).sum(1)


REWARD_WEIGHTED = Loss(
    name="reward_weighted",
    function=reward_weighted,
    takes="logps",
    kind="list",
    needs=("rewards",),
    media=("text",),
    uses_absolute_logps=True,
    summary="Reward-weighted regression: likelihood of all answers of a prompt, the better ones weighted more",
    formula="-sum_i softmax(v / temperature)_i logp_i",
    source="Peng et al. 2019, arXiv 1910.00177",
    papers=(
        Paper(
            "1910.00177",
            "Peng and Kumar and others",
            2019,
            "Advantage-Weighted Regression: Simple and Scalable Off-Policy Reinforcement Learning",
        ),
    ),
    advice="In rounds, pairing: list: a stable loop without a reference, since nothing is pushed down. Choose the "
    "temperature near the spread of the rewards within a prompt. Where a reference fits, leave_one_out also learns "
    "from what is bad.",
    limits={
        "temperature": Range(
            *(0.0, math.inf, False, False),
            meaning="the difference of rewards that weighs e times as much",
            advice="Start at the standard deviation of the rewards within a prompt.",
        )
    },
    at_zero=None,
)

"""Losses on ranked lists as repeated choices: the best of all, then the best of the rest, and so on."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.logistic import DPO_PAPER
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range


@checked
def plackett_luce(logps: PairLogps, *, beta: float) -> Tensor:
    """A Plackett-Luce model of the ranking.

        loss_b = sum_{k < n} [ log sum_{i >= k} exp(beta R_i) - beta R_k ],      R_1 ... R_n best to worst

    Args:
        logps: ``B`` ranked lists of ``n`` candidates against a reference.
        beta: Inverse temperature, > 0.

    Returns:
        ``(B,)``, one loss per list.

    Facts: at the start a list costs ``log n!``. With two candidates it is the logistic loss. A constant added to all
        logratios changes nothing. Only the order counts, not the size of the gaps.

    Source: Rafailov et al. 2023 (arXiv 2305.18290), appendix A.3. With every temperature 1 and these rewards it is the
        ranking part of PRO (Song et al. 2023, arXiv 2306.17492).
    """
    rewards = beta * torch.stack([answer.logratio for answer in logps.ranked.values()], 1)
    rest = rewards.flip(1).logcumsumexp(1).flip(1)  # [:, k]: of candidate k and all worse ones
    return (rest - rewards)[:, :-1].sum(1)


@checked
def pro(logps: PairLogps, *, sft: float = 0.05) -> Tensor:
    """Preference ranking optimisation, without a reference.

        loss_b = sum_{k < n} L_k - sft (n - 1)^2 logp_1
        L_k    = log( exp(a_k T_k) + sum_{i > k} exp(a_i T_{k,i}) ) - a_k T_k

    with the mean log-probability ``a`` of a token, best candidate first, and temperatures by the data's rewards,
    ``T_{k,i} = r_k - r_i``, of which ``T_k = r_k - r_n`` is the largest.

    Args:
        logps: ``B`` ranked lists of ``n`` candidates, with their rewards. A reward that contradicts the order counts
            as equal.
        sft: Weight of the best candidate's likelihood, a sum over tokens; 0 or more.

    Returns:
        ``(B,)``, one loss per list.

    Facts: with two candidates it is the logistic loss of their means without a reference, beta the gap of the rewards.
        Equal rewards of candidate k and all worse ones make ``L_k = log(n - k + 1)`` without a gradient. The best
        candidate is always pulled up, the worst down; those between either way.

    Source: Song et al. 2023 (arXiv 2306.17492), the objective of the released code: temperatures multiply, the ranking
        uses means over tokens and the last term a sum.
    """
    ranked = logps.ranked
    means = torch.stack([upcast(answer.policy.per_token().logps) for answer in ranked.values()], 1)
    rewards = torch.stack([logps.reward(role) for role in ranked], 1).to(means)
    count = means.shape[1]
    total = -sft * (count - 1) ** 2 * upcast(logps.chosen.logps)
    for k in range(count - 1):
        gaps = (rewards[:, k : k + 1] - rewards[:, k:]).clamp(min=0.0)
        temperatures = torch.cat([gaps.max(1, keepdim=True).values, gaps[:, 1:]], 1)
        logits = temperatures * means[:, k:]
        total = total + logits.logsumexp(1) - logits[:, 0]
    return total


_PAPER = Paper("2306.17492", "Song and Yu and others", 2023, "Preference Ranking Optimization for Human Alignment")
PLACKETT_LUCE = Loss(
    name="plackett_luce",
    function=plackett_luce,
    takes="logps",
    kind="list",
    summary="Plackett-Luce: DPO on ranked lists, the best of all, then the best of the rest",
    formula="sum_{k<n} [log sum_{i>=k} exp(beta R_i) - beta R_k]",
    source="Rafailov et al. 2023, arXiv 2305.18290, appendix A.3; Song et al. 2023, arXiv 2306.17492",
    papers=(
        DPO_PAPER,
        _PAPER,
    ),
    advice="Ranked lists with an order only: `pairs: lists`. With scores, tree_po weights the pairs by them.",
    limits={"beta": BETA},
    at_zero=lambda h: None,  # log n!: it depends on the list's length
)

PRO = Loss(
    name="pro",
    function=pro,
    takes="logps",
    kind="list",
    needs=("rewards",),
    media=("text",),
    uses_absolute_logps=True,
    summary="PRO: ranked lists without a reference, with temperatures from the gaps of rewards, plus fine-tuning",
    formula="sum_{k<n} [log(exp(a_k T_k) + sum_{i>k} exp(a_i T_ki)) - a_k T_k] - sft (n-1)^2 logp_1, T_ki = r_k - r_i",
    source="Song et al. 2023, arXiv 2306.17492",
    papers=(_PAPER,),
    advice="Ranked lists with rewards, where no reference fits into memory; learning rate 5e-6. Scale rewards so that "
    "neighbours differ by about 1: their gaps are inverse temperatures. Without a reference the policy drifts; sft "
    "limits it.",
    limits={
        "sft": Range(
            *(0.0, math.inf, True, False),
            meaning="the weight of the best candidate's likelihood",
            advice="Start at 0.05; 0 leaves it out, and the best answers may become unlikely.",
        )
    },
    at_zero=None,
)

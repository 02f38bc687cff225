"""Tree preference optimisation: every two candidates of a list are compared, and weigh as much as a swap would cost."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA


def lambda_weights(rewards: Tensor, values: Tensor) -> Tensor:
    """How much the order of each two candidates matters: the change of a discounted gain if their ranks were swapped.

        lambda_ij = |2^v_i - 2^v_j| |1 / log(1 + rank_i) - 1 / log(1 + rank_j)|

    Args:
        rewards: ``(B, n)``, what the policy says now; ranks count from 1, the largest reward first.
        values: ``(B, n)``, what the data say, in [0, 1].

    Returns:
        ``(B, n, n)``, without gradient; symmetric, 0 on the diagonal.
    """
    rewards, values = rewards.detach(), values.detach()
    ranks = rewards.argsort(dim=1, descending=True, stable=True).argsort(dim=1).to(values) + 1.0
    gain, discount = torch.exp2(values), 1.0 / torch.log1p(ranks)
    return _apart(gain).abs() * _apart(discount).abs()


WEIGHTS = ("lambda", "uniform")


def pair_weights(rewards: Tensor, logps: PairLogps, weights: str) -> tuple[Tensor, Tensor]:
    """``(B, n, n)`` each: where one candidate of a list is better than another by the data (1, else 0), and how much
    their order counts.

    Args:
        rewards: ``(B, n)``, what the policy says now, best candidate first.
        logps: The lists, with their rewards.
        weights: One of :data:`WEIGHTS`.
    """
    values = torch.stack([logps.reward(role) for role in logps.ranked], 1).to(rewards)
    better = (_apart(values) > 0.0).to(rewards)
    return better, lambda_weights(rewards, values) if weights == "lambda" else torch.ones_like(better)


def tree_po(logps: PairLogps, *, beta: float, weights: str = "lambda") -> Tensor:
    """Pairwise logistic losses over a whole list, weighed.

        loss_b = sum over v_i > v_j of lambda_ij log(1 + exp(-beta (R_i - R_j)))

    with the rewards ``v`` of the data, and the weights of :func:`lambda_weights`.

    Args:
        logps: ``B`` ranked lists of ``n`` candidates against a reference, with their rewards, best in [0, 1].
        beta: Inverse temperature, > 0.
        weights: ``"lambda"``, or ``"uniform"``: every two candidates with different rewards count alike.

    Returns:
        ``(B,)``, one loss per list.

    Facts: the order of the list does not matter, nor what all candidates gain alike; ties teach nothing. With two
        candidates it is the logistic loss times its weight, 0.532456 for rewards 1 and 0 in the right order and more
        where swapped ranks are farther apart. The best candidate is never pulled down, the worst never up.

    Source: Liao et al. 2024 (arXiv 2410.12854). The released code departs from the paper's formula (no such weights, a
        gradient that points the other way); this is the formula.
    """
    rewards = beta * torch.stack([answer.logratio for answer in logps.ranked.values()], 1)
    better, weight = pair_weights(rewards, logps, weights)
    return (better * weight * F.softplus(-_apart(rewards))).sum((1, 2))


def _apart(x: Tensor) -> Tensor:
    """``(B, n, n)``: the difference of each two."""
    return x.unsqueeze(2) - x.unsqueeze(1)


TREE_PO_PAPER = Paper(
    "2410.12854",
    "Liao and Chu and Wang",
    2024,
    "TPO: Aligning Large Language Models with Multi-branch & Multi-step Preference Trees",
)

TREE_PO = Loss(
    name="tree_po",
    function=tree_po,
    takes="logps",
    kind="list",
    needs=("reference", "rewards"),
    summary="TPO of trees: all pairs of a list, weighed by what a swap of their ranks would cost",
    formula="sum_{v_i > v_j} lambda_ij log(1 + exp(-beta (R_i - R_j)))",
    source="Liao et al. 2024, arXiv 2410.12854",
    papers=(TREE_PO_PAPER,),
    advice="Ranked lists with scores that mean something, scaled to [0, 1]: close calls hardly count, the top of the "
    "list most. Take plackett_luce where only the order is known. The authors take beta 0.5, learning rate 5e-7.",
    limits={"beta": BETA},
    choices={"weights": WEIGHTS},
    at_zero=lambda h: None,  # it depends on the rewards
    aliases=("lambda_rank",),
)

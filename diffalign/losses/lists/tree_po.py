"""Tree preference optimisation: all pairs of a list, each weighted by the cost of a swap of their ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA


def lambda_weights(rewards: Tensor, values: Tensor) -> Tensor:
    """Returns the change of a discounted gain if the ranks of two candidates were swapped, for each two of a list.

        lambda_ij = |2^v_i - 2^v_j| |1 / log(1 + rank_i) - 1 / log(1 + rank_j)|

    Args:
        rewards: ``(B, n)``, the policy's implicit rewards; ranks count from 1, the largest reward first.
        values: ``(B, n)``, the data's rewards, in [0, 1].

    Returns:
        ``(B, n, n)``, without gradient; symmetric, 0 on the diagonal.
    """
    rewards, values = rewards.detach(), values.detach()
    ranks = rewards.argsort(dim=1, descending=True, stable=True).argsort(dim=1).to(values) + 1.0
    gain, discount = torch.exp2(values), 1.0 / torch.log1p(ranks)
    return _differences(gain).abs() * _differences(discount).abs()


WEIGHTS = ("lambda", "uniform")


def pair_weights(rewards: Tensor, logps: PairLogps, weights: str) -> tuple[Tensor, Tensor]:
    """Returns ``(better, weight)``, ``(B, n, n)`` each: 1 where one candidate has a larger reward than another and 0
    otherwise, and the weight of each two.

    Args:
        rewards: ``(B, n)``, the policy's implicit rewards, best candidate first.
        logps: The lists, with the data's rewards.
        weights: One of :data:`WEIGHTS`.
    """
    values = torch.stack([logps.reward(role) for role in logps.ranked], 1).to(rewards)
    better = (_differences(values) > 0.0).to(rewards)
    return better, lambda_weights(rewards, values) if weights == "lambda" else torch.ones_like(better)


@checked
def tree_po(logps: PairLogps, *, beta: float, weights: str = "lambda") -> Tensor:
    """Weighted pairwise logistic losses over a whole list.

        loss_b = sum over v_i > v_j of lambda_ij log(1 + exp(-beta (R_i - R_j)))

    with the rewards ``v`` of the data, and the weights of :func:`lambda_weights`.

    Args:
        logps: ``B`` ranked lists of ``n`` candidates against a reference, with their rewards, preferably in [0, 1].
        beta: Inverse temperature, > 0.
        weights: ``"lambda"``, or ``"uniform"``: every two candidates with different rewards have weight 1.

    Returns:
        ``(B,)``, one loss per list.

    Facts: the order of the list does not matter, nor does a constant added to all logratios; ties have no gradient.
        With two candidates it is the logistic loss times its weight, 0.532456 for rewards 1 and 0 in the right order
        and more where swapped ranks differ more. The best candidate is never pulled down, the worst never up.

    Source: Liao et al. 2024 (arXiv 2410.12854). The released code departs from the paper's formula (no such weights, a
        gradient that points the other way); this is the formula.
    """
    rewards = beta * torch.stack([answer.logratio for answer in logps.ranked.values()], 1)
    better, weight = pair_weights(rewards, logps, weights)
    return (better * weight * F.softplus(-_differences(rewards))).sum((1, 2))


def _differences(x: Tensor) -> Tensor:
    """Returns ``(B, n, n)``, the difference of each two."""
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
    summary="TPO of trees: all pairs of a list, weighted by the cost of a swap of their ranks",
    formula="sum_{v_i > v_j} lambda_ij log(1 + exp(-beta (R_i - R_j)))",
    source="Liao et al. 2024, arXiv 2410.12854",
    papers=(TREE_PO_PAPER,),
    advice="Ranked lists with scores, scaled to [0, 1]: near ties hardly count, the top of the list most. Choose "
    "plackett_luce where only the order is known. The authors use beta 0.5, learning rate 5e-7.",
    limits={"beta": BETA},
    choices={"weights": WEIGHTS},
    at_zero=lambda h: None,  # it depends on the rewards
    aliases=("lambda_rank",),
)

"""Ranking: whether a policy gives the better candidate the higher probability, and what that would take of a pair.

Not the accuracy of implicit rewards, which asks how a policy moved against its reference. By ``c``, the reference's
log-probability of the rejected candidate minus that of the chosen one, the reference ranks a pair the wrong way round;
a policy ranks it right exactly where its margin is at least ``c``.

Source: Chen et al. 2024 (arXiv 2405.19534). The released script forms the idealised accuracy from a ratio of
log-probabilities, which is no ratio of probabilities; here it is a difference, as the paper's text has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

UNANIMOUS = 0.999
"""Stands for a rater share of 1, whose optimum would be infinitely far away."""
ASSUMED = 0.75
"""The rater share where the labels are plain votes, as the authors assume."""


def ranks_right(chosen: Tensor, rejected: Tensor) -> Tensor:
    """``(B,)`` of booleans: ``l_w >= l_l``; a tie counts as right, as in the paper.

    Args:
        chosen: ``(B,)``, log-probabilities under one model.
        rejected: ``(B,)``, of the other candidates. Not-a-number ranks nothing right.
    """
    return chosen >= rejected


def rater_shares(probability: Tensor) -> Tensor:
    """``(B,)``: the share of raters who prefer the chosen candidate, as the idealised accuracy needs it.

    Args:
        probability: ``(B,)`` in [0, 1], of the data. Where every one is 0 or 1 they are plain votes: then 0.75 (or
            0.25) is assumed. Else they are shares, and those at an end are moved off it by 0.001.
    """
    if bool(((probability == 0.0) | (probability == 1.0)).all()):
        return torch.where(probability == 1.0, ASSUMED, 1.0 - ASSUMED).to(probability)
    return probability.clamp(1.0 - UNANIMOUS, UNANIMOUS)


def ideal_margin(share: Tensor, *, beta: float) -> Tensor:
    """``(B,)``: the margin of the policy that is the optimum of DPO and of RLHF on true proportions, logit(share)/beta.

    Args:
        share: ``(B,)`` in (0, 1), of raters who prefer the chosen candidate.
        beta: The run's, > 0.
    """
    return torch.logit(share) / beta


def ideal_squared_margin(share: Tensor, *, target: float) -> Tensor:
    """``(B,)``: the same for a squared loss with the target margin ``1 / (2 beta)``: ``(2 share - 1) target``, which
    minimises ``share (m - target)^2 + (1 - share) (m + target)^2``."""
    return (2.0 * share - 1.0) * target


def flip_threshold(wrong_by: Tensor, loss: Callable[[Tensor], Tensor], *, optimum: float = math.inf) -> Tensor:
    """``(B,)``: below which loss a pair is ranked right: that of the margin ``c``.

        DPO    right  <=>  L <= -log s(beta c)
        IPO    right  <=   L <= (1 / (2 beta) - c)^2,   and where c > 1 / (2 beta) a loss of zero is a wrong ranking

    Args:
        wrong_by: ``(B,)``, ``c``: reference log-probability of the rejected minus that of the chosen candidate.
        loss: The loss of a margin, falling up to ``optimum``.
        optimum: The smallest margin at which it is least.

    Returns:
        The threshold; not-a-number where ``c`` lies beyond the optimum, so that no loss promises the right order.
    """
    found = loss(wrong_by)
    return torch.where(wrong_by <= optimum, found, torch.full_like(found, math.nan))


@dataclass(frozen=True)
class Flips:
    """Pairs by who ranks them right, as shares of all; they add up to 1.

    Args:
        both: Reference and policy.
        gained: The policy alone: training flipped them.
        lost: The reference alone: training unlearnt them.
        neither: Nobody.
    """

    both: float
    gained: float
    lost: float
    neither: float

    @property
    def flipped(self) -> float:
        """Of the pairs that the reference ranks wrong, the share that the policy ranks right; nan without any."""
        wrong = self.gained + self.neither
        return self.gained / wrong if wrong > 0 else math.nan


def flips(reference: Tensor, policy: Tensor) -> Flips:
    """The two-by-two table.

    Args:
        reference: ``(B,)`` of booleans, B at least 1: ranked right by the reference.
        policy: ``(B,)``: by the policy.
    """

    def share(which: Tensor) -> float:
        return float(which.double().mean())

    return Flips(
        share(reference & policy), share(~reference & policy), share(reference & ~policy), share(~reference & ~policy)
    )

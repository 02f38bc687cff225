"""Ranking: whether a policy gives the better candidate the higher probability, and the margin that this requires.

It differs from the accuracy of implicit rewards, which compares a policy with its reference. Let ``c`` be the
reference's log-probability of the rejected candidate minus that of the chosen one: a policy ranks the pair right
exactly where its margin is at least ``c``.

Source: Chen et al. 2024 (arXiv 2405.19534). The released script forms the idealised accuracy from a ratio of
log-probabilities, which is no ratio of probabilities; here it is a difference, as in the paper's text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

UNANIMOUS = 0.999
"""Replaces a rater share of 1, whose optimum would be infinite."""
ASSUMED = 0.75
"""The rater share where the labels are plain votes, as the authors assume."""


def ranks_right(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Returns ``(B,)`` of booleans, ``l_w >= l_l``; a tie counts as right, as in the paper.

    Args:
        chosen: ``(B,)``, log-probabilities under one model.
        rejected: ``(B,)``, of the other candidates. Not-a-number counts as wrong.
    """
    return chosen >= rejected


def rater_shares(probability: Tensor) -> Tensor:
    """Returns ``(B,)``, the share of raters who prefer the chosen candidate, for the idealised accuracy.

    Args:
        probability: ``(B,)`` in [0, 1], of the data. Where every one is 0 or 1 they are plain votes: then 0.75 (or
            0.25) is assumed. Otherwise they are shares, clamped to [0.001, 0.999].
    """
    if bool(((probability == 0.0) | (probability == 1.0)).all()):
        return torch.where(probability == 1.0, ASSUMED, 1.0 - ASSUMED).to(probability)
    return probability.clamp(1.0 - UNANIMOUS, UNANIMOUS)


def ideal_margin(share: Tensor, *, beta: float) -> Tensor:
    """Returns ``(B,)``, the margin of the optimal policy of DPO and RLHF for true proportions, ``logit(share) / beta``.

    Args:
        share: ``(B,)`` in (0, 1), of raters who prefer the chosen candidate.
        beta: The run's, > 0.
    """
    return torch.logit(share) / beta


def ideal_squared_margin(share: Tensor, *, target: float) -> Tensor:
    """Returns ``(B,)``, the same for a squared loss with the target margin ``1 / (2 beta)``: ``(2 share - 1) target``
    minimises ``share (m - target)^2 + (1 - share) (m + target)^2``.
    """
    return (2.0 * share - 1.0) * target


def flip_threshold(wrong_by: Tensor, loss: Callable[[Tensor], Tensor], *, optimum: float = math.inf) -> Tensor:
    """Returns ``(B,)``, the loss below which a pair is ranked right: that of the margin ``c``.

        DPO    right  <=>  L <= -log s(beta c)
        IPO    right  <=   L <= (1 / (2 beta) - c)^2,   and where c > 1 / (2 beta) a loss of zero is a wrong ranking

    Args:
        wrong_by: ``(B,)``, ``c``: reference log-probability of the rejected minus that of the chosen candidate.
        loss: The loss of a margin, falling up to ``optimum``.
        optimum: The smallest margin at which it has its minimum.

    Returns:
        The threshold; not-a-number where ``c`` lies beyond the optimum, so that no loss promises the right order.
    """
    threshold = loss(wrong_by)
    return torch.where(wrong_by <= optimum, threshold, torch.full_like(threshold, math.nan))


@dataclass(frozen=True)
class Flips:
    """Shares of pairs by the models that rank them right; they add up to 1.

    Args:
        both: Reference and policy.
        gained: Only the policy: training flipped them.
        lost: Only the reference: training unlearnt them.
        neither: Neither of the two.
    """

    both: float
    gained: float
    lost: float
    neither: float

    @property
    def flipped(self) -> float:
        """The share that the policy ranks right of the pairs that the reference ranks wrong; nan without any."""
        wrong = self.gained + self.neither
        return self.gained / wrong if wrong > 0 else math.nan


def flips(reference: Tensor, policy: Tensor) -> Flips:
    """Returns the two-by-two table.

    Args:
        reference: ``(B,)`` of booleans, B at least 1: ranked right by the reference.
        policy: ``(B,)``: by the policy.
    """

    def share(which: Tensor) -> float:
        return float(which.double().mean())

    return Flips(
        share(reference & policy), share(~reference & policy), share(reference & ~policy), share(~reference & ~policy)
    )

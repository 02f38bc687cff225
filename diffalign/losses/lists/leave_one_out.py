"""Regression of a prompt's answers together: each one's logratio and reward are measured from the others'."""

from __future__ import annotations

import torch
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.rebel import REBEL
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA
from diffalign.losses.regression import regression_loss


def from_others(values: Tensor) -> Tensor:
    """Returns ``(B, K)``, each value less the mean of its list's others: ``K / (K - 1)`` times its distance from the
    list's mean.
    """
    count = values.shape[1]
    return count / (count - 1) * (values - values.mean(1, keepdim=True))


def logratios_of(logps: PairLogps) -> Tensor:
    """Returns ``(B, K)``, the logratios of a list's answers."""
    return torch.stack([answer.logratio for answer in logps.ranked.values()], 1)


def rewards_of(logps: PairLogps) -> Tensor:
    """Returns ``(B, K)``, the data's rewards of a list's answers, without gradient."""
    return torch.stack([logps.reward(role) for role in logps.ranked], 1)


@checked
def leave_one_out(logps: PairLogps, *, beta: float, relative: bool = False) -> Tensor:
    """Regression to leave-one-out advantages.

        loss_b = mean_i (R_i - R_-i - (v_i - v_-i) / beta)^2               relative: the same times beta^2

    with the logratios ``R`` and rewards ``v`` of ``K`` answers, and ``x_-i`` the mean of the others' ``x``.

    Args:
        logps: ``B`` lists against a reference, with rewards of any sign and size.
        beta: Inverse temperature, > 0.
        relative: Measures distances in units of ``1 / beta``, so that the loss is of the rewards' own size.

    Returns:
        ``(B,)``, one loss per list.

    Facts: with two answers it is ``rebel``. A constant added to all rewards, or to all logratios, changes nothing; the
        order of the list does not matter. Where the policy equals its reference the gradient is the leave-one-out
        policy gradient (RLOO) times ``-2 / beta K / (K - 1)``. It is least where the policy is the reference times
        ``exp(v / beta)`` up to a constant, whoever gave the answers.

    Sources: Ahmadian et al. 2024 (arXiv 2402.14740), RLOO's baseline; the regression is REBEL's (Gao et al. 2024,
        arXiv 2404.16767) with this baseline for lists, which is ours.
    """
    ratios = from_others(logratios_of(logps))
    return regression_loss(ratios, from_others(rewards_of(logps).to(ratios)), beta=beta, relative=relative).mean(1)


RLOO_PAPER = Paper(
    "2402.14740",
    "Ahmadian and Cremer and others",
    2024,
    "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs",
)

LEAVE_ONE_OUT = Loss(
    name="leave_one_out",
    function=leave_one_out,
    takes="logps",
    kind="list",
    needs=("reference", "rewards"),
    is_quadratic=True,
    scale_sensitive=True,
    summary="Regression to leave-one-out advantages: REBEL on all answers of a prompt together",
    formula="mean_i (R_i - R_-i - (v_i - v_-i) / beta)^2, x_-i the mean of the others; relative: times beta^2",
    source="Ahmadian et al. 2024, arXiv 2402.14740; Gao et al. 2024, arXiv 2404.16767",
    papers=(RLOO_PAPER, REBEL.papers[0]),
    advice="In rounds, pairing: list and the policy at the round's beginning as the reference. Rewards of any size: "
    "beta is in their units. Set relative: true where an optimizer or gradient clipping cannot handle large losses.",
    limits={"beta": BETA},
    at_zero=lambda h: None,  # it depends on the rewards
)

"""Best-of-n distillation: the policy learns to answer as the best of n of the reference's answers would be."""

from __future__ import annotations

import math

from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.lists.leave_one_out import from_others, logratios_of, rewards_of
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range


@checked
def best_of_n(logps: PairLogps, *, n: float) -> Tensor:
    """Regression to the logratios of the best of n.

        loss_b = mean_i (R_i - R_-i - (n - 1) (q_i - q_-i))^2,      q_i = log( |{j : v_j <= v_i}| / K )

    with the logratios ``R`` and rewards ``v`` of ``K`` answers, and ``x_-i`` the mean of the others' ``x``.

    Args:
        logps: ``B`` lists of the reference's answers, with rewards; only their order counts.
        n: Number of answers of which the best is imitated, 1 or more; need not be the list's.

    Returns:
        ``(B,)``, one loss per list.

    Facts: it is ``leave_one_out`` with the rewards ``q`` and beta ``1 / (n - 1)``. The density of the best of n answers
        is the reference's times ``n F^(n - 1)``, with the share F of answers that are no better, which a list
        estimates; so the loss is 0 at that policy. n = 1 pulls back to the reference. Any increasing function of the
        rewards changes nothing.

    Source: Sessa et al. 2024 (arXiv 2407.14622), BOND's reward ``log F`` and its ``beta = 1 / (n - 1)``; the regression
        in place of its policy gradient is ours.
    """
    rewards, ratios = rewards_of(logps), from_others(logratios_of(logps))
    no_better = (rewards.unsqueeze(1) <= rewards.unsqueeze(2)).to(ratios).mean(2)
    return ((ratios - (n - 1.0) * from_others(no_better.log())) ** 2).mean(1)


BEST_OF_N = Loss(
    name="best_of_n",
    function=best_of_n,
    takes="logps",
    kind="list",
    needs=("reference", "rewards"),
    is_quadratic=True,
    scale_sensitive=True,
    summary="Best-of-n distillation: the logratios that the best of n of the reference's answers would have",
    formula="mean_i (R_i - R_-i - (n - 1) (q_i - q_-i))^2, q_i = log(share of the list that is no better)",
    source="Sessa et al. 2024, arXiv 2407.14622",
    papers=(
        Paper("2407.14622", "Sessa and Dadashi and others", 2024, "BOND: Aligning LLMs with Best-of-N Distillation"),
    ),
    advice="In rounds, pairing: list, answers of the model that is the reference; only the judge's order counts, so no "
    "outlier of its scores does harm. Larger n goes further from the reference, by log n - (n - 1) / n nats at most. "
    "Lists of n answers or more estimate it well. Denoisers need logp_scale.",
    limits={
        "n": Range(
            *(1.0, math.inf, True, False),
            meaning="the number of answers of which the best is imitated",
            advice="Start at 4.",
        )
    },
    at_zero=lambda h: None,  # it depends on ties
)

"""The online KL on lists: a term that keeps a policy near its reference where the policy itself goes."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.lists.leave_one_out import RLOO_PAPER, from_others, logratios_of
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.online_kl import ONLINE_KL


@checked
def group_kl(logps: PairLogps) -> Tensor:
    """The reverse KL of policy and reference, by the policy's answers of a prompt.

        loss_b = sum_i (R_i - mean R)^2 / (2 (K - 1))

    half the variance of the logratios ``R`` of ``K`` answers.

    Args:
        logps: ``B`` lists of the policy's own answers against a reference.

    Returns:
        ``(B,)``, 0 or more.

    Facts: its gradient, ``mean_i (R_i - R_-i) grad log pi(y_i)`` with the mean ``R_-i`` of the other answers, is the
        score function's estimate of the gradient of ``KL(policy || reference)`` with them as the baseline; over answers
        of the policy its mean is that gradient exactly. With two answers it is ``online_kl`` of them. At equal policy
        and reference value and gradient are 0.

    Source: Song et al. 2024 (arXiv 2406.01462), HyPO's KL term, with the baseline of Ahmadian et al. 2024 (arXiv
        2402.14740).
    """
    ratios = logratios_of(logps)
    return 0.5 * ((ratios - ratios.mean(1, keepdim=True)) * from_others(ratios)).mean(1)


GROUP_KL = Loss(
    name="group_kl",
    function=group_kl,
    takes="logps",
    kind="list",
    media=("text",),
    is_quadratic=True,
    scale_sensitive=True,
    summary="The KL of policy and reference on a list of the policy's own answers",
    formula="sum_i (R_i - mean R)^2 / (2 (K - 1)), whose gradient over answers of the policy is that of the KL",
    source="Song et al. 2024, arXiv 2406.01462; Ahmadian et al. 2024, arXiv 2402.14740",
    papers=(ONLINE_KL.papers[0], RLOO_PAPER),
    advice="As a term of a sum on lists that the policy itself answered, as in loss: [{name: reward_weighted, "
    "temperature: 1}, {name: group_kl, times: 1e-3}]; with leave_one_out the regression holds the policy already.",
    limits={},
    at_zero=lambda h: 0.0,
)

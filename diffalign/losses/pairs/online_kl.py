"""A term that keeps a policy near its reference where the policy itself goes: on samples of its own.

A loss on fixed pairs can be small while the policy drifts away on answers that the pairs do not cover. This term reads
further samples of the policy, the roles "own_1" and "own_2", which `pairs: rounds` makes (``pairs.further``).
"""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper

OWN = ("own_1", "own_2")
"""Roles of the policy's own samples."""
_HYPO = Paper(
    "2406.01462",
    "Song and Swamy and others",
    2024,
    "The Importance of Online Data: Understanding Preference Fine-tuning via Coverage",
)


@checked
def online_kl(logps: PairLogps) -> Tensor:
    """The reverse KL of policy and reference, by two samples of the policy.

        loss_b = (R_1 - R_2)^2 / 4

    with the logratios ``R`` of the samples: half their variance, whose gradient is that of the KL.

    Args:
        logps: ``B`` pairs against a reference, with samples of the policy in the roles "own_1" and "own_2".

    Returns:
        ``(B,)``, 0 or more.

    Facts: its gradient, ``sum_i (R_i - R_j) grad log pi(y_i) / 2`` with the other sample j, is the score function's
        estimate of the gradient of ``KL(policy || reference)`` with the other sample as the baseline; over samples of
        the policy its mean is that gradient exactly. At equal policy and reference value and gradient are 0.

    Source: Song et al. 2024 (arXiv 2406.01462), HyPO's KL term, with a leave-one-out baseline.
    """
    _ = logps.pair  # single examples are refused
    first, second = (logps.answer(role).logratio for role in OWN)
    return 0.25 * (first - second) ** 2


ONLINE_KL = Loss(
    name="online_kl",
    function=online_kl,
    takes="logps",
    roles=OWN,
    media=("text",),
    summary="HyPO's term: the KL of policy and reference on two samples of the policy",
    is_quadratic=True,
    scale_sensitive=True,
    formula="(R_1 - R_2)^2 / 4, whose gradient over samples of the policy is that of KL(policy || reference)",
    source="Song et al. 2024, arXiv 2406.01462",
    papers=(_HYPO,),
    advice="As a term of a sum, in rounds: loss: [{name: logistic, beta: 0.1}, {name: online_kl, times: 1e-4}] with "
    "pairs.further: {own_1: policy, own_2: policy}. Sums over long answers are large: start with times 1e-4.",
    limits={},
    at_zero=lambda h: 0.0,
)

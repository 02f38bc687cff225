"""Degree: a term that asks the policy's own states how much of an answer is missing, beside any loss on pairs."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper


def content_degree(logps: PairLogps) -> Tensor:
    """Self-supervised preference degree.

        loss_b = -logp_b,      logp the mean log-probability of telling right how much of an answer was removed

    Args:
        logps: ``B`` pairs that carry it as the further answer "degree"; no other number is read.

    Returns:
        ``(B,)``, one cost per pair.

    Facts: a head that knows nothing costs ``log K`` for K degrees. It is a term of a sum: times 0.1 is where to start,
        and alone it teaches no preference.

    Source: Li et al. 2024 (arXiv 2409.17791); how content is removed and degrees are told is ours, because the authors
        released no code.
    """
    logps.pair  # noqa: B018  the degrees are those of a pair's two answers
    return -upcast(logps.answer("degree").policy.logps)


CONTENT_DEGREE = Loss(
    name="content_degree",
    function=content_degree,
    takes="logps",
    needs=("degree",),
    media=("text",),
    summary="a term that makes the policy's states tell how much of an answer's key content is missing",
    formula="-logp_degree, the cross entropy of telling degrees of removed content apart",
    source="Li et al. 2024, arXiv 2409.17791; the rule of removal is ours",
    papers=(
        Paper(
            "2409.17791",
            "Li and Huang and others",
            2024,
            "Self-supervised Preference Optimization: Enhance Your Language Model with Preference Degree Awareness",
        ),
    ),
    advice="Experimental, and a term: a sum such as logistic + 0.1 content_degree. Needs model.degree: {}; watch "
    "degree/accuracy.",
    limits={},
    at_zero=None,
    aliases=("degree",),
)

"""Content degree: predicts from the policy's own states how much of an answer is missing, as a term of a sum."""

from __future__ import annotations

from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper


@checked
def content_degree(logps: PairLogps) -> Tensor:
    """Self-supervised preference degree.

        loss_b = -logp_b,      logp the mean log-probability of the true degree of removal

    Args:
        logps: ``B`` pairs with that log-probability as the further answer "degree"; nothing else is read.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: an untrained head costs ``log K`` for K degrees. It is a term of a sum: start at times 0.1; without another
        loss it trains no preference.

    Source: Li et al. 2024 (arXiv 2409.17791); the removal of content and the prediction of degrees are this project's
        own, because the authors released no code.
    """
    logps.pair  # noqa: B018  raises for single candidates
    return -upcast(logps.answer("degree").policy.logps)


CONTENT_DEGREE = Loss(
    name="content_degree",
    function=content_degree,
    takes="logps",
    needs=("degree",),
    media=("text",),
    summary="a term that trains the policy's states to predict how much of an answer's key content is missing",
    formula="-logp_degree, the cross entropy of predicting the degree of removed content",
    source="Li et al. 2024, arXiv 2409.17791; the rule of removal is this project's own",
    papers=(
        Paper(
            "2409.17791",
            "Li and Huang and others",
            2024,
            "Self-supervised Preference Optimization: Enhance Your Language Model with Preference Degree Awareness",
        ),
    ),
    advice="Experimental, for a sum such as logistic + 0.1 content_degree. Needs model.degree: {}; watch "
    "degree/accuracy.",
    limits={},
    at_zero=None,
    aliases=("degree",),
)

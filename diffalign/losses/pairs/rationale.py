"""Rationale: the likelihood of a text that explains why the chosen answer is better. A term of a sum."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range


@checked
def rationale(logps: PairLogps, *, gamma: float = 0.1, form: str = "nll") -> Tensor:
    """Likelihood of a rationale given the question and both answers.

        nll          loss_b = -gamma logp_b
        logsigmoid   loss_b = -log s(gamma logp_b)

    Args:
        logps: ``B`` pairs with a further answer "rationale", whose prompt shows both candidates. Its logp is a sum
            over tokens, as published, unless ``per_token: true`` is set. The candidates' own are not read.
        gamma: Weight, 0 or more.
        form: "nll", the paper's; or "logsigmoid", the released code's.

    Returns:
        ``(B,)``, one number per pair.

    Raises:
        ValueError: Single candidates: they have no preference to explain.

    Facts: the two candidates get no gradient. The slope of the log-sigmoid is between gamma / 2 and gamma; its value is
        log 2 where a rationale is certain.

    Source: Just et al. 2024 (arXiv 2407.14477).
    """
    logps.pair  # noqa: B018  raises for single candidates
    logp = upcast(logps.answer("rationale").policy.logps)
    return -gamma * logp if form == "nll" else -F.logsigmoid(gamma * logp)


RATIONALE = Loss(
    name="rationale",
    function=rationale,
    takes="logps",
    needs=(),
    roles=("rationale",),
    per_token=False,
    media=("text",),
    summary="the likelihood of a text that explains why the chosen answer is better, as a term of a sum",
    formula="-gamma logp_rationale, or -log s(gamma logp_rationale)",
    source="Just et al. 2024, arXiv 2407.14477",
    papers=(
        Paper(
            "2407.14477",
            "Just and Jin and others",
            2024,
            "Data-Centric Human Preference with Rationales for Direct Preference Alignment",
        ),
    ),
    advice="When the data have explanations: a sum such as logistic + rationale learns from fewer pairs. Without "
    "another loss it trains explanations, not answers. Set pairs: rationales, which writes its prompt.",
    limits={
        "gamma": Range(
            *(0.0, math.inf, True, False),
            meaning="the weight of the rationale's likelihood",
            advice="Start at 0.1 of a sum over tokens; published runs take 0.001 to 10.",
        )
    },
    choices={"form": ("nll", "logsigmoid")},
    at_zero=None,
)

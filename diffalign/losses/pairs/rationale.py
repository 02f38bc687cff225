"""Rationale: the likelihood of a text that says why the chosen answer is better. A term beside a loss on the pair."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range


def rationale(logps: PairLogps, *, gamma: float = 0.1, form: str = "nll") -> Tensor:
    """Likelihood of a rationale given the question and both answers.

        nll          loss_b = -gamma logp_b
        logsigmoid   loss_b = -log s(gamma logp_b)

    Args:
        logps: ``B`` pairs with a further answer "rationale", whose prompt shows both candidates. Its logp is a sum
            over tokens, as published, unless ``per_token: true`` says otherwise. Neither candidate's own is read.
        gamma: Weight, 0 or more.
        form: "nll", the paper's; or "logsigmoid", the released code's.

    Returns:
        ``(B,)``, one number per pair.

    Raises:
        ValueError: Single candidates: there is nothing to explain.

    Facts: nothing of it reaches the two candidates. The log-sigmoid pulls with between gamma / 2 and gamma, and starts
        at log 2 where a rationale is certain.

    Source: Just et al. 2024 (arXiv 2407.14477).
    """
    logps.pair  # noqa: B018  the rationale explains a choice between two
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
    summary="the likelihood of a text that says why the chosen answer is better, as a term of a sum",
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
    advice="When somebody wrote why: a sum such as logistic + rationale learns from fewer pairs. Alone it teaches to "
    "explain, not to answer. Take pairs: rationales, which writes its prompt.",
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

"""ASFT: makes the chosen candidate certain and the rejected one impossible, each by its own likelihood."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.pairs.orpo import log_odds
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import Range


@checked
def asft(logps: PairLogps, *, lam: float = 1.0, beta: float = 1.0, sft_term: bool = True) -> Tensor:
    """Aligned supervised fine-tuning.

        loss_b = -a_w + lam [-log s(beta o_w) - log s(-beta o_l)]

    with ``a = logp / number of tokens`` and its log-odds ``o = a - log(1 - exp(a))``. At ``beta`` 1, where
    ``s(o) = exp(a)``, it is ``-(1 + lam) a_w - lam log(1 - exp(a_l))``.

    Args:
        logps: ``B`` pairs; a reference is not read. The row takes means over tokens: the probability of a sum would
            vanish, and the rejected candidate with it. Log-probabilities are at most 0; a denoiser's is ``-e / 2``,
            so that ``exp(logp_scale logp)`` is used as a probability.
        lam: Factor on the two odds' losses, 0 or more; the paper's beta.
        beta: Inverse temperature of the log-odds, > 0. 1 is the paper's loss; tune others like DPO's beta.
        sft_term: Whether to add the chosen candidate's likelihood; false for a model that is fine-tuned already.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at beta 1 the pull on the chosen candidate is ``1 + lam`` whatever its likelihood, and the push on the
        rejected one is ``lam p / (1 - p)``, which vanishes with p and stays at ``1e7 lam`` where p is nearer to 1 than
        float32 can say. ORPO of the same factor is never larger, by
        ``lam log[p_w (1 - p_l) + p_l (1 - p_w)]``.

    Source: Wang et al. 2024 (arXiv 2409.10571); beta is Gorbatovski et al. 2025 (arXiv 2502.01237), whose tuned
        comparison finds losses on single candidates below those on pairs. A denoiser's form is this project's own.
    """
    chosen, rejected = logps.pair
    a_w, a_l = upcast(chosen.logps), upcast(rejected.logps)
    loss = -lam * (F.logsigmoid(beta * log_odds(a_w)) + F.logsigmoid(-beta * log_odds(a_l)))
    return loss - a_w if sft_term else loss + torch.zeros_like(a_w)


ASFT = Loss(
    name="asft",
    function=asft,
    takes="logps",
    needs=(),
    scale_sensitive=True,
    per_token=True,
    uses_absolute_logps=True,
    summary="ASFT: fine-tuning that also makes the rejected candidate improbable, without a reference",
    formula="-a_w + lam [-log s(beta o_w) - log s(-beta o_l)], o = a - log(1 - exp(a)), a = logp per token",
    source="Wang et al. 2024, arXiv 2409.10571; beta: Gorbatovski et al. 2025, arXiv 2502.01237",
    papers=(
        Paper(
            "2409.10571",
            "Wang and Sun and others",
            2024,
            "ASFT: Aligned Supervised Fine-Tuning through Absolute Likelihood",
        ),
        Paper(
            "2502.01237",
            "Gorbatovski and Shaposhnikov and others",
            2025,
            "The Differences Between Direct Alignment Algorithms are a Blur",
        ),
    ),
    advice="When the likelihoods themselves should rise and fall, not only their gap. Independent comparisons find it "
    "below losses on pairs; after fine-tuning set sft_term: false and tune beta. For a denoiser set logp_scale: 10, "
    "so that exp(-5 e) is a number between 0 and 1.",
    limits={
        "lam": Range(
            *(0.0, math.inf, True, False),
            meaning="the factor on the two odds' losses",
            advice="Leave it at 1; 0 is plain fine-tuning.",
        ),
        "beta": Range(
            *(0.0, math.inf, False, False),
            meaning="the inverse temperature of the log-odds",
            advice="Leave it at 1, the paper's loss.",
        ),
    },
    at_zero=None,
)

"""CPO: the contrast of two candidates without a reference, plus the chosen candidate's likelihood."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range


@checked
def cpo(logps: PairLogps, *, beta: float, weight: float = 1.0, average: bool = True) -> Tensor:
    """Contrastive preference optimisation.

        loss_b = -log s(beta (logp_w - logp_l)) - weight logp_w / n_w                average: false: - weight logp_w

    with the number ``n_w`` of the chosen candidate's tokens.

    Args:
        logps: ``B`` pairs; a reference is not read. The contrast is of sums over tokens.
        beta: Inverse temperature, > 0.
        weight: Factor on the chosen candidate's likelihood, 0 or more.
        average: Whether that likelihood is a mean over tokens, as in released code, or a sum.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: the contrast is the logistic loss against a uniform reference. The gradient on the chosen candidate never
        vanishes.

    Source: Xu et al. 2024 (arXiv 2401.08417), eq. 3 plus the likelihood term.
    """
    chosen, rejected = logps.pair
    contrast = -F.logsigmoid(beta * (upcast(chosen.logps) - upcast(rejected.logps)))
    likelihood = upcast((chosen.per_token() if average else chosen).logps)
    return contrast - weight * likelihood


CPO = Loss(
    name="cpo",
    function=cpo,
    takes="logps",
    needs=(),
    media=("text",),  # errors of two images differ by their content, which only a reference would cancel
    uses_absolute_logps=True,
    summary="CPO: the contrast of two likelihoods plus the chosen one's likelihood, without a reference",
    formula="-log s(beta (logp_w - logp_l)) - weight logp_w / n_w",
    source="Xu et al. 2024, arXiv 2401.08417, eq. 3 and its likelihood term",
    papers=(
        Paper(
            "2401.08417",
            "Xu and Sharaf and others",
            2024,
            "Contrastive Preference Optimization: Pushing the Boundaries of LLM Performance in Machine Translation",
        ),
    ),
    advice="When no reference fits into memory and the chosen answers are good to imitate, as in translation. "
    "Longer answers have lower sums: where lengths differ much, choose simpo.",
    limits={
        "beta": BETA,
        "weight": Range(
            *(0.0, math.inf, True, False),
            meaning="the factor on the chosen candidate's likelihood",
            advice="Leave it at 1; 0 leaves it out.",
        ),
    },
    at_zero=None,
)

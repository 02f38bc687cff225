"""TPO: a contrast of two answers without a reference, plus fine-tuning on a third one, the best."""

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
def tpo(logps: PairLogps, *, beta: float = 0.01, alpha: float = 1.0) -> Tensor:
    """Triple preference optimisation.

        loss_b = -log s(beta (logp_w - logp_l)) - alpha logp_gold / n_gold

    Args:
        logps: ``B`` pairs with a further answer "gold", the best one; a reference is not read.
        beta: Inverse temperature of a sum over tokens, > 0.
        alpha: Weight of the gold answer's likelihood per token, 0 or more.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: equal candidates cost ``log 2`` plus the gold answer's term. With the chosen answer as gold it is contrastive
        preference optimisation: the logistic loss without a reference, plus fine-tuning.

    Source: Saeidi et al. 2024 (arXiv 2405.16681). The defaults, beta 0.01 and alpha 1, are those of the paper's second
        version, which TRL follows; the authors' released code runs with beta 0.1 and alpha 0.5, its read-me once with
        0.2 and 0.9. The gold answer's term is a
        mean over its own tokens here, so that each example has the same weight; TRL and the released code take one mean
        over all gold tokens of a batch, where long answers weigh more.
    """
    chosen, rejected = logps.pair
    gold_nll = -upcast(logps.answer("gold").policy.per_token().logps)
    return -F.logsigmoid(beta * (upcast(chosen.logps) - upcast(rejected.logps))) + alpha * gold_nll


@checked
def tpo_l(logps: PairLogps, *, beta: float = 10.0, gamma: float = 0.5, alpha: float = 1.0) -> Tensor:
    """Triple preference optimisation with control of lengths.

        loss_b = -log s(beta (a_w - a_l) - gamma) - alpha a_gold,      a = logp / number of tokens

    Args:
        logps: ``B`` pairs with a further answer "gold". The row takes means over tokens, of all three, unless
            ``per_token: false`` is set.
        beta: Inverse temperature of a log-probability per token, > 0.
        gamma: The target margin, 0 or more. Not times beta, unlike ``gamma_beta_ratio`` of ``simpo``.
        alpha: Weight of the gold answer's likelihood per token, 0 or more.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: the first term is ``simpo`` with ``gamma_beta_ratio = gamma / beta``.

    Source: Saeidi et al. 2024 (arXiv 2405.16681), TPO-L; the gold answer's term as in :func:`tpo`.
    """
    chosen, rejected = logps.pair
    gap = upcast(chosen.logps) - upcast(rejected.logps)
    return -F.logsigmoid(beta * gap - gamma) - alpha * upcast(logps.answer("gold").policy.logps)


_PAPER = Paper(
    "2405.16681",
    "Saeidi and Verma and others",
    2024,
    "Triple Preference Optimization: Achieving Better Alignment using a Single Step Optimization",
)
_ALPHA = Range(
    *(0.0, math.inf, True, False),
    meaning="the weight of the gold answer's likelihood per token",
    advice="Leave it at 1; 0 leaves the gold answers out.",
)

TPO = Loss(
    name="tpo",
    function=tpo,
    takes="logps",
    needs=(),
    roles=("gold",),
    scale_sensitive=True,
    summary="TPO: a contrast of two answers without a reference, plus fine-tuning on a third, the best one",
    formula="-log s(beta (logp_w - logp_l)) - alpha logp_gold / n_gold",
    source="Saeidi et al. 2024, arXiv 2405.16681",
    papers=(_PAPER,),
    advice="One run from a base model where the data have three ranked answers: best as gold, second as chosen, worst "
    "as rejected. For denoisers set logp_scale: without it a beta of 0.01 multiplies errors of a hundredth.",
    limits={
        "beta": Range(
            *(0.0, math.inf, False, False),
            meaning="the inverse temperature of a sum over tokens",
            advice="Start at 0.01, the paper's second version; the released code runs with 0.1 and an alpha of 0.5.",
        ),
        "alpha": _ALPHA,
    },
    at_zero=None,
)

TPO_L = Loss(
    name="tpo_l",
    function=tpo_l,
    takes="logps",
    needs=(),
    roles=("gold",),
    per_token=True,
    scale_sensitive=True,
    summary="TPO-L: TPO on log-probabilities per token with a target margin",
    formula="-log s(beta (a_w - a_l) - gamma) - alpha a_gold, a = logp per token",
    source="Saeidi et al. 2024, arXiv 2405.16681",
    papers=(_PAPER,),
    advice="As tpo, where answers get longer and longer.",
    limits={
        "beta": Range(
            *(0.0, math.inf, False, False),
            meaning="the inverse temperature of a gap per token",
            advice="Start at 10.",
        ),
        "gamma": Range(
            *(0.0, math.inf, True, False),
            meaning="the target margin",
            advice="Leave it at 0.5.",
        ),
        "alpha": _ALPHA,
    },
    at_zero=None,
    aliases=("tpo-l",),
)

"""ORPO: fine-tuning on the chosen candidate, plus its odds ratio against the rejected one."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.probability import log1mexp
from diffalign.losses.ranges import Range


@checked
def orpo(logps: PairLogps, *, weight: float = 0.1) -> Tensor:
    """Odds ratio preference optimisation.

        loss_b = -a_w - weight log s(o_w - o_l),      o = a - log(1 - exp(a)),      a = logp / number of tokens

    Args:
        logps: ``B`` pairs; a reference is not read. The row takes means over tokens unless ``per_token: false`` is set.
            Log-probabilities are at most 0.
        weight: Factor on the odds' loss, added to the likelihood, 0 or more; the paper's lambda. 0 is ``sft``.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: equal candidates cost ``-a + weight log 2``. ``exp(a)`` is the geometric mean of the tokens' probabilities
        and ``o`` its log-odds. The gradient on the chosen candidate never vanishes, as in fine-tuning.

    Source: Hong et al. 2024 (arXiv 2403.07691), eq. 6 and 7. The likelihood is of the response only, and each
        response has the same weight; other code takes the mean over all tokens of a batch, the prompt's included.
    """
    chosen, rejected = logps.pair
    a_w, a_l = upcast(chosen.logps), upcast(rejected.logps)
    return -a_w - weight * F.logsigmoid(log_odds(a_w) - log_odds(a_l))


def log_odds(logp: Tensor) -> Tensor:
    """Returns ``logp - log(1 - exp(logp))``; value and gradient are precise near 0 and far from it, and finite at 0."""
    return logp - log1mexp(logp)


ORPO = Loss(
    name="orpo",
    function=orpo,
    takes="logps",
    needs=(),
    media=("text",),  # a denoiser has no probability with odds
    per_token=True,
    uses_absolute_logps=True,
    summary="ORPO: fine-tuning on the chosen candidate plus its odds against the rejected one, without a reference",
    formula="-a_w - weight log s(o_w - o_l), o = a - log(1 - exp(a)), a = logp per token",
    source="Hong et al. 2024, arXiv 2403.07691, eq. 6 and 7",
    papers=(
        Paper(
            "2403.07691",
            "Hong and Lee and Thorne",
            2024,
            "ORPO: Monolithic Preference Optimization without Reference Model",
        ),
    ),
    advice="One run from a base model instead of two: fine-tuning and preferences at once. For a model that is "
    "fine-tuned already, choose simpo or a loss with a reference.",
    limits={
        "weight": Range(
            *(0.0, math.inf, True, False),
            meaning="the factor on the odds' loss, added to the chosen candidate's likelihood",
            advice="Leave it at 0.1; 0 is plain fine-tuning.",
        )
    },
    at_zero=None,
)

"""SimPO: a Bradley-Terry model of the two candidates' likelihoods per token, with a target margin."""

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
def simpo(logps: PairLogps, *, beta: float = 2.0, gamma_beta_ratio: float = 0.25) -> Tensor:
    """Simple preference optimisation.

        loss_b = -log s(beta (a_w - a_l - gamma_beta_ratio)),      a = logp / number of tokens

    Args:
        logps: ``B`` pairs; a reference is not read. The row takes means over tokens, the end token included, unless
            ``per_token: false`` is set.
        beta: Inverse temperature of a log-probability per token, > 0: of order one, where a sum has a tenth.
        gamma_beta_ratio: The target gap, in nats per token, 0 or more. The paper's
            gamma is ``beta`` times this.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: at a gap of the ratio the loss is log 2. Only the gap counts, and repeating a candidate changes nothing. With
        no ratio and equal lengths ``n`` it is the logistic loss without a reference at ``beta / n``.

    Source: Meng et al. 2024 (arXiv 2405.14734), eq. 6, in the parameters of the released code.
    """
    chosen, rejected = logps.pair
    gap = upcast(chosen.logps) - upcast(rejected.logps)
    return -F.logsigmoid(beta * (gap - gamma_beta_ratio))


SIMPO = Loss(
    name="simpo",
    function=simpo,
    takes="logps",
    needs=(),
    media=("text",),  # errors of two images differ by their content, which only a reference would cancel
    per_token=True,
    summary="SimPO: the gap of log-probabilities per token, with a target margin, without a reference",
    formula="-log s(beta (a_w - a_l - gamma_beta_ratio)), a = logp per token",
    source="Meng et al. 2024, arXiv 2405.14734, eq. 6; defaults of the released code",
    papers=(
        Paper(
            "2405.14734",
            "Meng and Xia and Chen",
            2024,
            "SimPO: Simple Preference Optimization with a Reference-Free Reward",
        ),
    ),
    advice="When no reference fits into memory, or answers get longer and longer: the loss reads means over tokens. "
    "Nothing keeps the policy near its start: published learning rates are 3e-7 to 1e-6, for all weights, and 1e-5 "
    "broke the model. Tuned: beta 2 to 10, gamma_beta_ratio 0.1 to 0.8.",
    limits={
        "beta": Range(
            *(0.0, math.inf, False, False),
            meaning="the inverse temperature of a gap per token",
            advice="Start at 2; published runs take 2 to 10.",
        ),
        "gamma_beta_ratio": Range(
            *(0.0, math.inf, True, False),
            meaning="the target gap per token",
            advice="Start at 0.25 to 0.5; the paper's gamma is beta times this.",
        ),
    },
    at_zero=None,
)

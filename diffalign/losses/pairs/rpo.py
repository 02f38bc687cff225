"""RPO: the logistic loss plus the chosen candidate's likelihood, which keeps both from becoming unlikely."""

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
def rpo(logps: PairLogps, *, beta: float, eta: float = 0.005, average: float = 0.0) -> Tensor:
    """Regularised preference optimisation.

        loss_b = -log s(beta m_b) - eta beta logp_w - average logp_w / n_w

    with the margin ``m`` and the number ``n_w`` of the chosen candidate's tokens.

    Args:
        logps: ``B`` pairs against a reference.
        beta: Inverse temperature, > 0, as for the logistic loss.
        eta: Weight of the chosen candidate's likelihood, a sum over tokens, in units of beta; 0 or more. The cumulative
            form of the released code, with 0.005.
        average: Weight of the likelihood per token, without a beta; 0 or more. The average form, with 0.2 (and eta 0).

    Returns:
        ``(B,)``, one loss per pair.

    Facts: with both weights 0 it is the logistic loss. The gradient on the chosen candidate tends to ``eta beta`` as
        the margin grows, not to 0; that on the rejected one is the logistic loss's. Per sequence the two forms agree
        at ``average = eta beta n_w``. The likelihood is of the whole answer: ``ld_alpha`` acts on the margin only.

    Source: Liu et al. 2024 (arXiv 2405.16436), with the chosen candidates as the baseline; both forms and their weights
        are the released code's.
    """
    likelihood = logps.chosen.in_full
    chosen, mean = upcast(likelihood.logps), upcast(likelihood.per_token().logps)
    return -F.logsigmoid(beta * logps.margin) - eta * beta * chosen - average * mean


RPO = Loss(
    name="rpo",
    function=rpo,
    takes="logps",
    uses_absolute_logps=True,
    summary="RPO: the logistic loss plus the chosen candidate's likelihood",
    formula="-log s(beta m) - eta beta logp_w - average logp_w / n_w",
    source="Liu et al. 2024, arXiv 2405.16436; weights of the released code",
    papers=(
        Paper(
            "2405.16436",
            "Liu and Lu and others",
            2024,
            "Provably Mitigating Overoptimization in RLHF: Your SFT Loss is Implicitly an Adversarial Regularizer",
        ),
    ),
    advice="When logps/chosen falls while the margin grows: the second term keeps the chosen answers likely. The "
    "authors found eta (a sum over tokens) better for chat and average 0.2 (a mean, with eta 0) for reasoning.",
    limits={
        "beta": BETA,
        "eta": Range(
            *(0.0, math.inf, True, False),
            meaning="the weight of the chosen candidate's likelihood, in units of beta",
            advice="Start at 0.005; 0 leaves it out.",
        ),
        "average": Range(
            *(0.0, math.inf, True, False),
            meaning="the weight of the chosen candidate's likelihood per token",
            advice="Leave it at 0, or use 0.2 with eta 0.",
        ),
    },
    at_zero=None,
)

"""EXO: the reverse Kullback-Leibler divergence between the policy's preference for a pair and the label."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range


@checked
def exo(margin: Tensor, *, beta: float, flip: float = 0.001) -> Tensor:
    """Efficient exact optimisation on a pair.

        loss_b = q [log q - log(1 - flip)] + (1 - q) [log(1 - q) - log flip],      q = s(beta m_b)

    Args:
        margin: ``(B,)``, as for the logistic loss.
        beta: Inverse temperature, > 0.
        flip: Probability that the label gives to the rejected candidate, in (0, 0.5); at 0 the loss would be infinite.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: it is the divergence of (q, 1 - q) from the label's (1 - flip, flip); the logistic loss with a flip is the
        forward divergence of the same two, up to a constant. So its minimum, 0, is at
        ``log((1 - flip) / flip) / beta``, where the other one has its minimum as well; its slope is
        ``-beta q (1 - q) (log((1 - flip) / flip) - beta m)``, so a very wrong pair has hardly any gradient.

    Source: Ji et al. 2024 (arXiv 2402.00856), eq. 16 for two candidates; PRefLexOR trains with it, flip 0.005 (Buehler
        2024, arXiv 2410.12375). The default flip, 0.001, is the paper's and TRL's, a goal of ``6.9 / beta``. The
        authors' released code gives the rejected candidate the log-probability -10 instead, a goal of ``10 / beta``: a
        flip of 4.54e-5 is the same loss up to a constant.
    """
    u = beta * upcast(margin)
    won = torch.sigmoid(u) * (F.logsigmoid(u) - math.log1p(-flip))
    return won + torch.sigmoid(-u) * (F.logsigmoid(-u) - math.log(flip))


def _target(flip: float) -> float:
    return math.log1p(-flip) - math.log(flip)


EXO = Loss(
    name="exo",
    function=exo,
    summary="EXO: the reverse divergence between the policy's preference and the label, mode-seeking",
    formula="q [log q - log(1 - flip)] + (1 - q) [log(1 - q) - log flip], q = s(beta m)",
    source="Ji et al. 2024, arXiv 2402.00856, eq. 16; Buehler 2024, arXiv 2410.12375",
    papers=(
        Paper(
            "2402.00856",
            "Ji and Lu and others",
            2024,
            "Towards Efficient Exact Optimization of Language Model Alignment",
        ),
        Paper(
            "2410.12375",
            "Buehler",
            2024,
            "PRefLexOR: Preference-based Recursive Language Modeling for Exploratory Optimization of "
            "Reasoning and Agentic Thinking",
        ),
    ),
    advice="When an exact optimum matters more than speed, and labels are clean. Margins have a finite target, as "
    "with a flip: log((1 - flip) / flip) / beta, 6.9 / beta at the default and 10 / beta in the authors' code. Pairs "
    "that the policy ranks very wrongly have little gradient: start from a policy that has few.",
    limits={
        "beta": BETA,
        "flip": Range(
            *(0.0, 0.5, False, False),
            meaning="the probability that the label gives to the rejected candidate",
            advice="Leave it at 0.001, the paper's; published runs take up to 0.005, and 4.54e-5 is the authors' "
            "code. It cannot be 0.",
        ),
    },
    at_zero=lambda h: -math.log(2.0) - 0.5 * (math.log1p(-h["flip"]) + math.log(h["flip"])),
    slope_at_zero=lambda h: -h["beta"] * _target(h["flip"]) / 4.0,
    optimum=lambda h: _target(h["flip"]) / h["beta"],
    aliases=("exo_pair",),
)

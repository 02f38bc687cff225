"""NPO: makes undesirable answers less likely with a vanishing gradient, and retains the desirable ones."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range
from diffalign.losses.singles.sides import desirable_mask, share_of_kind


@checked
def npo(logps: PairLogps, *, beta: float, retain: float = 1.0, separate_means: bool = False) -> Tensor:
    """Negative preference optimisation with a retain term.

        undesirable   loss_b = (2 / beta) log(1 + exp(beta R_b)) = -(2 / beta) log s(-beta R_b)
        desirable     loss_b = -retain logp_b / n_b

    with the logratio ``R``, and the log-probability ``logp`` and number ``n`` of tokens of the desirable examples.

    Args:
        logps: ``B`` single examples against a reference, with ``desirable``; all may be undesirable.
        beta: Inverse temperature, > 0: small ones approach gradient ascent.
        retain: Weight of the desirable examples' likelihood per token, 0 or more.
        separate_means: Divides each example's loss by the share of its kind in the batch, so that the mean over the
            batch is the mean of the undesirable examples plus ``retain`` times the mean of the desirable ones,
            whatever their numbers. False: one mean, in which the more frequent kind weighs more.

    Returns:
        ``(B,)``, one loss per example.

    Facts: an undesirable example costs ``(2 / beta) log 2`` at the start with slope ``2 s(beta R)``: 1 at the
        start, for every beta, so the first step is gradient ascent's; towards 0 as it is forgotten; never above 2.
        ``loss - (2 / beta) log 2`` tends to ``R`` as beta falls to 0: gradient ascent, which has no lower bound;
        this loss has 0.

    Source: Zhang et al. 2024 (arXiv 2404.05868), eq. 3; with the retained answers' cross-entropy it is their NPO+RT.
        The released code draws as many answers to retain as to forget and adds the two means: ``separate_means``, or
        half of it without, where both kinds are equally frequent. Its retained mean is over all tokens of a batch,
        where long answers weigh more; here each answer has the same weight.
    """
    desirable, ratio = desirable_mask(logps), logps.chosen_logratio
    forgotten = 2.0 / beta * F.softplus(beta * ratio)
    loss = torch.where(desirable, -retain * upcast(logps.chosen.per_token().logps), forgotten)
    return loss / share_of_kind(logps) if separate_means else loss


NPO = Loss(
    name="npo",
    function=npo,
    takes="logps",
    kind="single",
    accepts_undesirable=True,
    allows_only_undesirable=True,
    needs=("reference", "desirable_share"),
    uses_absolute_logps=True,
    summary="NPO: unlearns undesirable answers with a vanishing gradient, and retains the desirable ones",
    formula="undesirable (2 / beta) log(1 + exp(beta R)); desirable -retain logp / n; separate_means: each over the "
    "share of its kind",
    source="Zhang et al. 2024, arXiv 2404.05868, eq. 3, NPO+RT",
    papers=(
        Paper(
            "2404.05868",
            "Zhang and Lin and others",
            2024,
            "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning",
        ),
    ),
    advice="To unlearn answers (or images of a concept), best together with examples to retain. Gradient ascent is "
    "its limit of a small beta, such as 0.001, and collapses: watch the retained examples' likelihood. The authors "
    "use learning rate 1e-5 with a beta of 0.1, and add a mean over the examples to forget and one over those to "
    "retain: separate_means: true.",
    limits={
        "beta": BETA,
        "retain": Range(
            *(0.0, math.inf, True, False),
            meaning="the weight of the retained examples' likelihood",
            advice="Leave it at 1; raise it where the model loses more than it should.",
        ),
    },
    at_zero=None,
)

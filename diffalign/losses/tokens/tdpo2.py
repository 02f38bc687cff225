"""TDPO-2: the logistic loss with a weighted gap of divergences, of which only the rejected answer's has a gradient."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.ranges import BETA, Range
from diffalign.losses.tokens.masked_sums import masked_sums
from diffalign.losses.tokens.sparse_po import TDPO_PAPER


@checked
def tdpo2(logps: PairLogps, *, beta: float, alpha: float = 0.5) -> Tensor:
    """Token-level preference optimisation, the second form.

        u(y)   = sum_t (log pi(y_t|.) - log ref(y_t|.))
        d(y)   = sum_t KL_t,         KL_t = KL(ref || pi) over the whole vocabulary at token t
        loss_b = -log s(beta ((u(y_w) - u(y_l)) - alpha (d(y_l) - sg d(y_w))))

    where ``sg`` passes no gradient.

    Args:
        logps: ``B`` pairs against a reference, with parts and their divergence; masks act as in ``sparse_po``.
        beta: Inverse temperature, > 0.
        alpha: Weight of the gap of divergences, 0 or more.

    Returns:
        ``(B,)``, one loss per pair.

    Raises:
        ValueError: Log-probabilities without parts, or without divergence.

    Facts: with an alpha of 1 it has the value of TDPO-1 (``sparse_po`` without masks), but no gradient that drives the
        chosen answer's distribution away from the reference; with 0 it is the logistic loss. At equal policy and
        reference it costs log 2.

    Source: Zeng et al. 2024 (arXiv 2404.11999), TDPO-2. Alpha 0.5 and beta 0.1 are the released code's, whose default
        is this form.
    """
    chosen, rejected = (masked_sums(answer) for answer in logps.answers)
    gap = rejected.divergence - chosen.divergence.detach()
    return -F.logsigmoid(beta * ((chosen.logratio - rejected.logratio) - alpha * gap))


TDPO2 = Loss(
    name="tdpo2",
    function=tdpo2,
    takes="logps",
    needs=("reference", "parts", "divergence"),
    summary="TDPO-2: DPO that keeps the rejected answer's tokens near the reference, with the chosen one's as the "
    "measure",
    formula="-log s(beta ((u_w - u_l) - alpha (d_l - sg d_w))), u = sum logratio_t, d = sum KL_t",
    source="Zeng et al. 2024, arXiv 2404.11999, TDPO-2",
    papers=(TDPO_PAPER,),
    advice="Where DPO drifts from the reference. The authors prefer it to TDPO-1 (tdpo) at high learning rates, and "
    "TDPO-1 at low ones; theirs is 5e-7 with beta 0.1. It computes the whole vocabulary's logits of both models, in "
    "chunks.",
    limits={
        "beta": BETA,
        "alpha": Range(
            *(0.0, math.inf, True, False),
            meaning="the weight of the gap of divergences",
            advice="Leave it at 0.5; 0 is the logistic loss.",
        ),
    },
    at_zero=lambda h: math.log(2.0),
    aliases=("tdpo-2",),
)

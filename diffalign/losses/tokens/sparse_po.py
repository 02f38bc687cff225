"""SparsePO: the logistic loss with a mask on each token's logratio and on its divergence from the reference."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, Range
from diffalign.losses.tokens.masked_sums import masked_sums


@checked
def sparse_po(logps: PairLogps, *, beta: float, l1_reward: float = 0.0, l1_divergence: float = 0.0) -> Tensor:
    """Preference optimisation under token masks.

        u(y)   = sum_t M_u(t) (log pi(y_t|.) - log ref(y_t|.))
        d(y)   = sum_t M_d(t) KL_t,         KL_t = KL(ref || pi) over the whole vocabulary at token t
        loss_b = -log s(beta ((u(y_w) - u(y_l)) - (d(y_l) - d(y_w))))
                 + l1_reward (|M_u(y_w)|_1 + |M_u(y_l)|_1) + l1_divergence (|M_d(y_w)|_1 + |M_d(y_l)|_1)

    Args:
        logps: ``B`` pairs against a reference, with parts, their divergence and optional masks; without masks every
            token has weight 1. For images parts are positions of a latent and ``KL_t`` is half the squared difference
            of the two predictions there, in the units of the errors.
        beta: Inverse temperature, > 0.
        l1_reward: Weight of the reward masks' sums, 0 or more: it makes learned masks sparse.
        l1_divergence: Weight of the divergence masks' sums.

    Returns:
        ``(B,)``, one loss per pair.

    Raises:
        ValueError: Log-probabilities without parts, or without divergence.

    Facts: divergence from the reference lowers the loss on the chosen answer and raises it on the rejected one. With
        every mask 1 it is TDPO-1, the first of TDPO's two forms (the second is ``tdpo2``); with ``M_u = 1`` and
        ``M_d = 0`` it is the logistic loss. At equal policy and reference it costs log 2 whatever the masks, plus the
        L1 terms. Masks times c are a beta times c, so beta is meaningless for learned masks without their mean. The
        reference has no gradient; learned masks have one, which raises the weight of tokens that already favour the
        chosen candidate.

    Source: Christopoulou et al. 2024 (arXiv 2410.05102), the objective and the released code's sums; without masks Zeng
        et al. 2024 (arXiv 2404.11999), TDPO-1. The divergence of images is this project's own.
    """
    chosen, rejected = (masked_sums(answer) for answer in logps.answers)
    gain = (chosen.logratio - rejected.logratio) - (rejected.divergence - chosen.divergence)
    loss = -F.logsigmoid(beta * gain)
    if l1_reward or l1_divergence:
        reward_mask, divergence_mask = chosen.masks + rejected.masks
        loss = loss + l1_reward * reward_mask + l1_divergence * divergence_mask
    return loss


_L1 = Range(
    *(0.0, math.inf, True, False),
    meaning="the weight of a mask's sum over its tokens",
    advice="Leave it at 0, or use 0.001 with learned masks.",
)

TDPO_PAPER = Paper("2404.11999", "Zeng and Liu and others", 2024, "Token-level Direct Preference Optimization")

SPARSE_PO = Loss(
    name="sparse_po",
    function=sparse_po,
    takes="logps",
    needs=("reference", "parts", "divergence"),
    summary="SparsePO and MaPO: tokens (or positions) with masks on logratio and divergence; without masks TDPO-1, the "
    "meaning of the name tdpo",
    formula="-log s(beta ((u_w - u_l) - (d_l - d_w))) + L1 of the masks, u = sum M_u logratio_t, d = sum M_d KL_t",
    source="Christopoulou et al. 2024, arXiv 2410.05102; without masks Zeng et al. 2024, arXiv 2404.11999 (TDPO-1)",
    papers=(
        Paper(
            "2410.05102",
            "Christopoulou and Cardenas and others",
            2024,
            "SparsePO: Controlling Preference Alignment of LLMs via Sparse Token Masks",
        ),
        TDPO_PAPER,
    ),
    advice="When a few words, or one region, decide: set model.masks to activations (nothing is learnt), to learned, "
    "or for images to files. Without masks it is TDPO-1 (for TDPO-2, the default of the authors' code, take tdpo2): "
    "the policy may diverge on the chosen answer and is kept near the reference on the rejected one. It computes the "
    "whole vocabulary's logits of both models, in chunks.",
    limits={"beta": BETA, "l1_reward": _L1, "l1_divergence": _L1},
    at_zero=lambda h: None if h["l1_reward"] or h["l1_divergence"] else math.log(2.0),
    aliases=("tdpo", "tdpo1"),
)

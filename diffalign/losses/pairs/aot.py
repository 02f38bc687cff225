"""AOT: compares whole batches of candidates, so that the chosen side's distribution lies above the rejected side's.

In one dimension the optimal transport between two samples pairs them by their rank.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA, FLIP


@checked
def aot(logps: PairLogps, *, beta: float, flip: float = 0.0) -> Tensor:
    """Alignment via optimal transport on pairs.

        loss_b = f(g_b - h_(rank of g_b)),      f(m) = -(1 - flip) log s(beta m) - flip log s(-beta m)

    with the policy's gaps ``g = logp_w - logp_l`` of a batch, and the reference's gaps ``h`` in ascending order.

    Args:
        logps: ``B`` pairs against a reference; all pairs of a step at once.
        beta: Inverse temperature, > 0.
        flip: Assumed share of mislabelled pairs, in [0, 0.5).

    Returns:
        ``(B,)``, one loss per pair: that of the pair's own gap and of the reference's gap of the same rank.

    Facts: for one pair, and where policy and reference rank the gaps alike, it is the logistic loss; so it is log 2
        where they are equal. The mean over the batch is at most that of any other matching.

    Source: Melnyk et al. 2024 (arXiv 2406.05882), the paired variant with the logistic loss.
    """
    gaps, reference = logps.gaps
    return _dominance(gaps - reference[_same_rank(gaps, reference)], beta, flip)


@checked
def aot_unpaired(logps: PairLogps, *, beta: float, flip: float = 0.0) -> Tensor:
    """Alignment via optimal transport on unpaired good and bad candidates.

        loss_b = f(R_w,b - R_l,(rank of R_w,b)),      f as for :func:`aot`

    with the logratios ``R`` of a batch, the rejected candidates' in ascending order.

    Args:
        logps: ``B`` chosen and ``B`` rejected candidates against a reference; the pairing is ignored.
        beta: Inverse temperature, > 0.
        flip: Assumed share of wrong labels, in [0, 0.5).

    Returns:
        ``(B,)``, one loss per chosen candidate.

    Facts: log 2 where the policy equals its reference; for one pair it is the logistic loss. The mean does not change
        when rejected candidates are permuted.

    Source: Melnyk et al. 2024 (arXiv 2406.05882), the unpaired variant with the logistic loss.
    """
    chosen, rejected = logps.logratios
    return _dominance(chosen - rejected[_same_rank(chosen, rejected)], beta, flip)


def _same_rank(values: Tensor, others: Tensor) -> Tensor:
    """Returns for each value the index of the number of the same rank in ``others``."""
    index = torch.empty_like(values, dtype=torch.long)
    index[values.detach().argsort(stable=True)] = others.detach().argsort(stable=True).to(values.device)
    return index


def _dominance(margin: Tensor, beta: float, flip: float) -> Tensor:
    u = beta * margin
    return -(1.0 - flip) * F.logsigmoid(u) - flip * F.logsigmoid(-u)


_PAPER = Paper(
    "2406.05882",
    "Melnyk and Mroueh and others",
    2024,
    "Distributional Preference Alignment of LLMs via Optimal Transport",
)
AOT = Loss(
    name="aot",
    function=aot,
    takes="logps",
    needs_whole_batch=True,
    media=("text",),  # the raw gap of two images is mostly their content: its ranks do not depend on the policy
    summary="AOT: the policy's gaps of a whole batch lie above the reference's, rank by rank",
    formula="-log s(beta (g_(i) - h_(i))), g and h the sorted gaps logp_w - logp_l of policy and reference",
    source="Melnyk et al. 2024, arXiv 2406.05882",
    papers=(_PAPER,),
    advice="To improve the average, not each pair. It needs large batches: the ranks are the batch's.",
    limits={"beta": BETA, "flip": FLIP},
    at_zero=lambda h: math.log(2.0),
    aliases=("aot_pair",),
)

AOT_UNPAIRED = Loss(
    name="aot_unpaired",
    function=aot_unpaired,
    takes="logps",
    needs_whole_batch=True,
    summary="AOT without pairs: the logratios of good candidates lie above those of bad ones, rank by rank",
    formula="-log s(beta (R_w,(i) - R_l,(i))), the logratios of a batch sorted on each side",
    source="Melnyk et al. 2024, arXiv 2406.05882",
    papers=(_PAPER,),
    advice="When good and bad candidates answer different prompts. It needs large batches: the ranks are the batch's.",
    limits={"beta": BETA, "flip": FLIP},
    at_zero=lambda h: math.log(2.0),
)

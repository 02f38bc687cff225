"""Contrastive preference learning: makes the better of two segments of behaviour the likelier one, with a bias."""

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
def cpl(logps: PairLogps, *, beta: float, lam: float = 0.5) -> Tensor:
    """Contrastive preference learning, without a reference.

        loss_b = -log s(beta logp_w - lam beta logp_l)

    Args:
        logps: ``B`` pairs; a reference is not read. A segment's log-probability is the sum over its steps; for Gaussian
            actions it is minus a squared error, so a denoiser's is no approximation here.
        beta: Inverse temperature, > 0; the paper's alpha.
        lam: The conservative bias, in [0, 1]: below 1 the loss grows when both likelihoods fall, so that the policy
            stays near the data. 1 is the contrast only.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: the push on the rejected candidate is ``lam`` times the pull on the chosen one, always. At ``lam`` 1 only the
        gap counts, at 0 only the chosen candidate.

    Source: Hejna et al. 2023 (arXiv 2310.13639), the loss with its conservative bias. A term for the chosen
        candidate's likelihood (CPL-BC) is ``sft`` added to it.
    """
    chosen, rejected = logps.pair
    return -F.logsigmoid(beta * upcast(chosen.logps) - lam * (beta * upcast(rejected.logps)))


@checked
def cpl_kl(logps: PairLogps, *, beta: float, lam: float = 0.75) -> Tensor:
    """Contrastive preference learning against the policy that it starts from.

        loss_b = -log s(beta R_w - lam beta R_l)

    with the logratios ``R``.

    Args:
        logps: ``B`` pairs against a reference.
        beta: Inverse temperature, > 0; the paper's alpha.
        lam: The conservative bias, in [0, 1]. 1 is the logistic loss.

    Returns:
        ``(B,)``, one loss per pair.

    Facts: log 2 where the policy equals its reference. It is Flex-DPO with ``beta_rejected = lam beta``.

    Source: Hejna et al. 2023 (arXiv 2310.13639), the version with a KL term.
    """
    chosen, rejected = logps.logratios
    return -F.logsigmoid(beta * chosen - lam * (beta * rejected))


_LAM = Range(
    *(0.0, 1.0, True, True),
    meaning="the conservative bias: how much the rejected candidate counts",
    advice="Start at 0.5; 0.75 against a reference, 1 with a likelihood term.",
)

CPL_PAPER = Paper(
    "2310.13639",
    "Hejna and Rafailov and others",
    2023,
    "Contrastive Preference Learning: Learning from Human Feedback without RL",
)

CPL = Loss(
    name="cpl",
    function=cpl,
    takes="logps",
    needs=(),
    uses_absolute_logps=True,
    summary="CPL: the better segment is the likelier one, with a bias to stay near the data, without a reference",
    formula="-log s(beta logp_w - lam beta logp_l)",
    source="Hejna et al. 2023, arXiv 2310.13639",
    papers=(CPL_PAPER,),
    advice="For segments of behaviour, or where no reference fits into memory. Fine-tune on the data first; the bias, "
    "and an sft term, keep likelihoods from falling together.",
    limits={"beta": BETA, "lam": _LAM},
    at_zero=None,
)

CPL_KL = Loss(
    name="cpl_kl",
    function=cpl_kl,
    takes="logps",
    summary="CPL against the policy that it starts from: DPO with the rejected candidate counted in part",
    formula="-log s(beta R_w - lam beta R_l)",
    source="Hejna et al. 2023, arXiv 2310.13639",
    papers=(CPL_PAPER,),
    advice="As cpl, where there is a reference. Published runs take beta 0.2 and lam 0.75.",
    limits={"beta": BETA, "lam": _LAM},
    at_zero=lambda h: math.log(2.0),
)

"""f-SFT: fine-tuning on demonstrations with a divergence that keeps the policy near its reference.

Imitation under a trust region, ``D_f(demonstrator || policy) + beta KL(policy || reference)``, turned into a game over
rewards, leaves

    loss = -phi(u),      u = beta R,      phi(u) = -f*(-u)

    identity     phi = u                          weight phi' = 1: fine-tuning itself, independent of the reference
    pearson      phi = u - u^2 / 4                1 - u / 2: 0 at u = 2, negative beyond it
    hellinger    phi = u / (1 + u)                1 / (1 + u)^2
    forward_kl   phi = 1 - exp(-u)                exp(-u)
    js           phi = log(2 - exp(-u))           exp(-u) / (2 - exp(-u))

Each has value 0 and slope 1 at ``u = 0``, so all start as fine-tuning. Below an edge, near which ``phi`` falls to minus
infinity, it continues as its tangent: an example far below the edge has the slope of the edge.

Source: Wang et al. 2025 (arXiv 2507.00018): the family and why plain fine-tuning forgets its reference; the table holds
the convex conjugates of these divergences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from diffalign.losses.hyperparameters import checked
from diffalign.losses.loss import Loss
from diffalign.losses.pair_logps import AnswerLogps, PairLogps
from diffalign.losses.paper import Paper
from diffalign.losses.ranges import BETA


class Phi(NamedTuple):
    """A curve, its slope, and the edge below which it continues as a straight line."""

    curve: Callable[[Tensor], Tensor]
    slope: Callable[[float], float]
    edge: float


PHI: Mapping[str, Phi] = MappingProxyType(
    {
        "pearson": Phi(lambda u: u - u * u / 4.0, lambda u: 1.0 - u / 2.0, -math.inf),
        "hellinger": Phi(lambda u: u / (1.0 + u), lambda u: (1.0 + u) ** -2, -0.9),
        "forward_kl": Phi(lambda u: -torch.expm1(-u), lambda u: math.exp(-u), -20.0),
        "js": Phi(lambda u: torch.log1p(-torch.expm1(-u)), lambda u: 1.0 / (2.0 * math.exp(u) - 1.0), -0.6),
        "identity": Phi(lambda u: u, lambda u: 1.0, -math.inf),
    }
)
"""The curves by name; the first is the default."""


def phi_of(u: Tensor, phi: str) -> Tensor:
    """Returns ``phi(u)`` of a demonstration's gain; shape as given."""
    curve, slope, edge = PHI[phi]
    if math.isinf(edge):
        return curve(u)
    inner = torch.where(u >= edge, u, edge)  # not clamp: its gradient at the edge itself is 0
    return torch.where(u >= edge, curve(inner), curve(torch.full_like(u, edge)) + slope(edge) * (u - edge))


@checked
def f_sft(logps: PairLogps, *, beta: float, phi: str = "pearson") -> Tensor:
    """Fine-tuning by a divergence, on whole candidates.

        loss_b = -phi(beta R_b)

    Args:
        logps: ``B`` single examples against the model before fine-tuning.
        beta: Strength of the pull towards the reference, > 0.
        phi: A key of :data:`PHI`.

    Returns:
        ``(B,)``, one loss per example; 0 at the start.

    Facts: the first step is fine-tuning's (times beta) for every curve. The weights of curved ones are below 1 where
        an example has gained, above 1 where it lost. The minimum of ``pearson`` is -1, at ``beta R = 2``.

    Source: Wang et al. 2025 (arXiv 2507.00018), see the module.
    """
    return -phi_of(beta * logps.chosen_logratio, phi)


@checked
def f_sft_tokens(logps: PairLogps, *, beta: float, phi: str = "pearson") -> Tensor:
    """The same for each token separately, averaged.

        loss_b = -mean_t phi(beta (logp_t - reference logp_t))

    Args:
        logps: As for :func:`f_sft`, with parts.
        beta: As for :func:`f_sft`.
        phi: A key of :data:`PHI`.

    Returns:
        ``(B,)``, one loss per example; 0 at the start.

    Raises:
        ValueError: Log-probabilities without parts.

    Facts: a long answer weighs as much as a short one, and no sum over tokens leaves the curved range. For one token,
        or for ``identity`` per token, it is :func:`f_sft`.

    Source: Wang et al. 2025 (arXiv 2507.00018), see the module.
    """
    answer = AnswerLogps(logps.chosen, logps.reference_chosen)
    # Parts beyond an answer's end are zero under both, and phi(0) = 0: they add nothing.
    total = phi_of(beta * answer.part_logratios, phi).sum(1)
    lengths = logps.chosen.lengths
    return -total if lengths is None else -total / lengths.to(total).clamp(min=1.0)


_PAPER = Paper(
    "2507.00018",
    "Wang and Cheng and others",
    2025,
    "Implicit Reward as the Bridge: A Unified View of SFT and DPO Connections",
)
_ADVICE = (
    "The stage before preferences, where plain sft forgets too much: the reference is the model before it. pearson "
    "stops at a gain of 2 / beta, hellinger only slows down; identity is plain fine-tuning. The authors gained more "
    "from a learning rate of sft several times smaller, so try that first."
)

F_SFT = Loss(
    name="f_sft",
    function=f_sft,
    takes="logps",
    kind="single",
    is_quadratic=True,
    summary="f-SFT: fine-tuning that stays near the model before it",
    formula="-phi(beta R), phi one of " + ", ".join(PHI),
    source="Wang et al. 2025, arXiv 2507.00018",
    papers=(_PAPER,),
    advice=_ADVICE,
    limits={"beta": BETA},
    choices={"phi": tuple(PHI)},
    at_zero=lambda h: 0.0,
)

F_SFT_TOKENS = Loss(
    name="f_sft_tokens",
    function=f_sft_tokens,
    takes="logps",
    kind="single",
    needs=("reference", "parts"),
    media=("text",),
    summary="f-SFT per token, averaged: the safer form for long answers",
    formula="-mean_t phi(beta (logp_t - reference logp_t)), phi one of " + ", ".join(PHI),
    source="Wang et al. 2025, arXiv 2507.00018",
    papers=(_PAPER,),
    advice=_ADVICE + " Per token no sum over a long answer leaves the curved range.",
    limits={"beta": BETA},
    choices={"phi": tuple(PHI)},
    at_zero=lambda h: 0.0,
)

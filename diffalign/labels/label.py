"""A label: how certain it is that the chosen candidate is the better one, and the weight of the pair.

A label can enter a loss ``L`` of the logratios ``R_w`` (chosen) and ``R_l`` (rejected) in four places, ``g``, ``s``,
``p`` and ``f``. They differ; some of them agree to first order at margin 0:

    loss_b = f_b [ p_b L(s_b R_w, s_b g_b R_l) + (1 - p_b) L(s_b g_b R_l, s_b R_w) ]

A fifth, ``o``, is for losses of one margin: the reward by which the chosen candidate is known to be ahead. It is
subtracted from ``beta`` times the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffalign.errors import RunError
from diffalign.losses.loss import BoundLoss
from diffalign.losses.objective import Objective, single_loss_objective, total
from diffalign.losses.pair_logps import PairLogps

Gate = Callable[[PairLogps], Tensor]
"""Log-probabilities without gradient in, ``(B,)`` out: the factor on each rejected logratio."""


@dataclass(frozen=True)
class Label:
    """The labels of a batch of pairs: a few numbers per pair, kept on the CPU.

    Args:
        probability: ``p``, ``(B,)`` float64 in [0, 1]: the probability that the chosen candidate is the better one.
        weight: ``f``, ``(B,)`` float64, 0 or more: factor on the pair's loss.
        scale: ``s``, ``(B,)`` float64 or None for 1: factor on the logratios inside the loss, a beta for each pair.
            Negative: the other candidate is the better one. 0: the pair has no gradient.
        gate: ``g``, None for 1, or a function that computes it, where it depends on the policy.
        relabels: Whether metrics swap pairs of negative scale.
        offset: ``o``, ``(B,)`` float64 or None for 0, in units of reward.
        gate_noises: Number of noises over which the log-probabilities that the gate compares are averaged.
    """

    probability: Tensor
    weight: Tensor
    scale: Tensor | None = None
    gate: Gate | None = None
    relabels: bool = False
    offset: Tensor | None = None
    gate_noises: int = 1

    def __len__(self) -> int:
        return len(self.probability)


@dataclass(frozen=True)
class ExpectedLoss:
    """The loss of a batch under its labels.

    Args:
        total: ``(B,)``, one number per pair, with gradient.
        terms: The summands of the total by name, ``(B,)`` each, without gradient.
    """

    total: Tensor
    terms: Mapping[str, Tensor]


def expected(loss: BoundLoss | Objective, logps: PairLogps, label: Label) -> Tensor:
    """Returns the total of :func:`expected_terms`, ``(B,)``."""
    return expected_terms(loss, logps, label).total


def expected_terms(loss: BoundLoss | Objective, logps: PairLogps, label: Label) -> ExpectedLoss:
    """Returns the loss under the label: its gate, then its scale, its uncertainty and its weight.

        loss_b = f_b [ p_b L(logps_b) + (1 - p_b) L(swapped logps_b) ]

    Args:
        loss: A bound loss, or a sum of them. A term on single candidates reads the chosen one in either case.
        logps: ``B`` pairs, or single candidates where the loss takes them and every p is 1.
        label: Their ``B`` labels.

    Returns:
        One number per pair, on the device of the log-probabilities, and the same of each term. No gradient reaches the
        label.

    Raises:
        ValueError: Another number of labels than of pairs; a gate where the loss does not compare logratios; a scale
            where it is no beta.
        RunError: The loss returns something else than one number per pair.

    Facts: where every p is 1 the swapped loss is not computed, so a certain label costs nothing and changes no bit;
        neither does a gate or a scale of 1. For a loss that is a pure function of the margin: at margin 0, and for a
        scale of 0 at every margin, the value is the weight times the loss at zero, for every p; swapping a pair and the
        sign of its scale changes nothing.
    """
    count = len(logps.chosen.logps)
    if len(label) != count:
        raise ValueError(f"expected one label per pair; got {len(label)} labels for {count} pairs")
    if isinstance(loss, BoundLoss):
        loss = single_loss_objective(loss)
    if label.gate is not None:
        logps = logps.gated(label.gate(logps.detach()).detach())
    if label.scale is not None:
        if not loss.scale_is_beta:
            raise ValueError(
                f"these labels give each pair a beta of its own, but the loss '{loss.name}' is no "
                "function of beta times one margin; choose one that is, such as logistic, ipo with relative: true, or "
                "f_divergence: reverse_kl, or labels without a scale, such as hard"
            )
        logps = logps.scaled(label.scale.detach())
    offset = None if label.offset is None else label.offset.detach()
    straight = loss.term_losses(logps, offset=offset)
    _refuse_other_shapes(straight, count)
    swapped: Mapping[str, Tensor] = {}
    if not bool(torch.all(label.probability == 1.0)):
        opposite = None if offset is None else -offset
        swapped = loss.term_losses(logps, swapped=logps.swapped(), offset=opposite)

    def mean(straight: Tensor, swapped: Tensor | None) -> Tensor:
        weight = label.weight.detach().to(straight)
        if swapped is None:
            return weight * straight
        p = label.probability.detach().to(straight)
        return weight * (p * straight + (1.0 - p) * swapped)

    whole = mean(total(straight), total(swapped) if swapped else None)
    if len(straight) == 1:
        return ExpectedLoss(whole, {loss.term_names[0]: whole.detach()})
    with torch.no_grad():
        terms = {name: mean(value, swapped.get(name)).detach() for name, value in straight.items()}
    return ExpectedLoss(whole, terms)


def _refuse_other_shapes(terms: Mapping[str, Tensor], count: int) -> None:
    """Raises RunError for a loss, as of a plugin, that is not one number per example: a mean would be weighted as if it
    were each one's own.
    """
    for name, value in terms.items():
        if value.shape != (count,):
            got = f"a tensor of shape {tuple(value.shape)}" if value.ndim else "a single number"
            raise RunError(
                f"the loss '{name}' returned {got} for {count} examples; expected shape ({count},), one number "
                "for each. Leave out mean() and sum() over the batch: the trainer averages."
            )


def swapped_by(logps: PairLogps, label: Label) -> PairLogps:
    """Returns the pairs in the label's order: rows of negative scale are swapped where the label relabels.

    For metrics: a margin is then positive where the policy agrees with the label, not with the order of the data. The
    same object is returned where there is nothing to swap.
    """
    if not label.relabels or label.scale is None or not bool((label.scale < 0).any()):
        return logps
    return logps.swapped(label.scale < 0)


def without_gradient(label: Label) -> Tensor:
    """Returns ``(B,)`` of booleans: the pairs without gradient, because their scale or their weight is exactly 0.

    The loss of such a pair is its weight times the loss at zero for every policy, so it need not be computed.
    """
    weightless = label.weight == 0.0
    return weightless if label.scale is None else weightless | (label.scale == 0.0)

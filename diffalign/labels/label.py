"""A label: how sure we are that the candidate called *chosen* is the better one, and how much the pair counts.

What is known can enter a loss ``L`` of the logratios ``R_w`` (chosen) and ``R_l`` (rejected) in four places, ``g``,
``s``, ``p`` and ``f``, which are different things (only to first order at margin 0 do some of them agree):

    loss_b = f_b [ p_b L(s_b R_w, s_b g_b R_l) + (1 - p_b) L(s_b g_b R_l, s_b R_w) ]

A fifth, ``o``, is for losses of one margin: how much reward the chosen candidate is known to be ahead. It is taken off
``beta`` times the margin, so that the policy owes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from diffalign.losses.loss import BoundLoss
from diffalign.losses.objective import Objective, single_loss_objective, total
from diffalign.losses.pair_logps import PairLogps

Gate = Callable[[PairLogps], Tensor]
"""Scores without gradient in, ``(B,)`` out: the factor on each rejected logratio."""


@dataclass(frozen=True)
class Label:
    """What is known about a batch of comparisons. Kept on the CPU: it is a few numbers per pair.

    Args:
        probability: ``p``, ``(B,)`` float64 in [0, 1]: how likely the chosen candidate is truly the better one.
        weight: ``f``, ``(B,)`` float64, 0 or more: factor on the pair's loss.
        scale: ``s``, ``(B,)`` float64 or None for 1: factor on the logratios inside the loss, a beta for each pair.
            Negative: the other candidate is the better one. 0: the pair teaches nothing.
        gate: ``g``, None for 1, or what computes it from the scores, because the policy itself decides.
        relabels: Whether a negative scale says which candidate is called the chosen one from now on.
        offset: ``o``, ``(B,)`` float64 or None for 0, in units of reward.
    """

    probability: Tensor
    weight: Tensor
    scale: Tensor | None = None
    gate: Gate | None = None
    relabels: bool = False
    offset: Tensor | None = None

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


def expected(loss: BoundLoss | Objective, scores: PairLogps, label: Label) -> Tensor:
    """Returns the total of :func:`expected_terms`, ``(B,)``."""
    return expected_terms(loss, scores, label).total


def expected_terms(loss: BoundLoss | Objective, scores: PairLogps, label: Label) -> ExpectedLoss:
    """Returns the loss under the label: its gate, then its scale, its uncertainty and its weight.

        loss_b = f_b [ p_b L(scores_b) + (1 - p_b) L(swapped scores_b) ]

    Args:
        loss: A bound loss, or a sum of them. A term that looks at single candidates sees the chosen one in either case.
        scores: ``B`` pairs, or single candidates where the loss takes them and every p is 1.
        label: Their ``B`` labels.

    Returns:
        One number per pair, on the scores' device, and the same of each term. No gradient reaches the label.

    Raises:
        ValueError: Another number of labels than of pairs; a gate or a scale where the loss does not compare logratios.

    Facts: where every p is 1 the swapped loss is not computed at all, so a sure label costs nothing and changes no bit;
        neither does a gate or a scale of 1. Of a loss that compares logratios alone: at margin 0, and for a scale of 0
        at every margin, the value is the weight times the loss at zero, for every p; swapping a pair and the sign of
        its scale changes nothing.
    """
    count = len(scores.chosen.logps)
    if len(label) != count:
        raise ValueError(f"expected one label per pair; got {len(label)} labels for {count} pairs")
    if isinstance(loss, BoundLoss):
        loss = single_loss_objective(loss)
    if label.gate is not None:
        scores = scores.gated(label.gate(scores.detach()).detach())
    if label.scale is not None:
        if not loss.is_pure_margin:
            raise ValueError(
                f"these labels scale the logratios, but the loss '{loss.name}' does not compare two of them alone; "
                "take one that does, such as logistic, or labels without a scale, such as hard"
            )
        scores = scores.scaled(label.scale.detach())
    offset = None if label.offset is None else label.offset.detach()
    straight = loss.term_losses(scores, offset=offset)
    swapped: Mapping[str, Tensor] = {}
    if not bool(torch.all(label.probability == 1.0)):
        opposite = None if offset is None else -offset
        swapped = loss.term_losses(scores, swapped=scores.swapped(), offset=opposite)

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


def swapped_by(scores: PairLogps, label: Label) -> PairLogps:
    """The scores as the label calls the candidates: rows of negative scale swapped where the label relabels.

    For metrics: a margin is then positive where the policy agrees with the label, not with the order of the data. The
    very same scores come back where there is nothing to swap.
    """
    if not label.relabels or label.scale is None or not bool((label.scale < 0).any()):
        return scores
    return scores.swapped(label.scale < 0)


def without_gradient(label: Label) -> Tensor:
    """``(B,)`` of booleans: pairs that cannot teach, because their scale or their weight is exactly 0.

    The loss of such a pair is its weight times the loss at zero whatever the policy says, its gradient exactly zero: it
    need not be scored at all.
    """
    still = label.weight == 0.0
    return still if label.scale is None else still | (label.scale == 0.0)

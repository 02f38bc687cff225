"""Weighted model counting in logarithms: the probability of a set of worlds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffalign.losses.logic.decision_tree import Choice, Tree, expansion
from diffalign.losses.logic.structures import Structure
from diffalign.losses.probability import log1mexp


def log_weight(worlds: frozenset[str], logps: Sequence[Tensor]) -> Tensor:
    """Returns the logarithm of the worlds' total weight. The weight of a world is the product of ``p`` for each
    proposition that is true and ``1 - p`` for each that is false.

    Args:
        worlds: One at least, as digits.
        logps: ``(B,)`` for each proposition, 0 at most.

    Returns:
        ``(B,)``, finite for finite log-probabilities.
    """
    return _weigh(expansion(worlds), logps)


def rho(structure: Structure, logps: Sequence[Tensor]) -> Tensor:
    """Returns ``log [ weight(top) / weight(bottom) ]``.

    Args:
        structure: Over as many propositions as there are log-probabilities.
        logps: ``(B,)`` each: of M_w, M_l, and R_w, R_l where the structure is over the reference too.
    """
    assert len(logps) == structure.count, f"{len(logps)} log-probabilities for {structure.count} propositions"
    return log_weight(structure.top, logps) - log_weight(structure.bottom, logps)


def rho_against(structure: Structure, logps: Sequence[Tensor], references: Sequence[Tensor]) -> Tensor:
    """Returns rho against a reference; for a structure over the model only it is ``rho - log r_w / r_l``.

    Args:
        structure: Over the model's two propositions, or over the reference's too.
        logps: ``(B,)`` each, of M_w and M_l.
        references: ``(B,)`` each, of R_w and R_l.
    """
    model_only = structure.without_reference
    if model_only is None:
        return rho(structure, (*logps, *references))
    # The model's gap minus the reference's: the large common part cancels first.
    return rho(model_only, logps) - (references[0] - references[1])


def _weigh(tree: Tree, logps: Sequence[Tensor]) -> Tensor:
    assert tree is not None  # a structure has no empty set
    if not isinstance(tree, Choice):
        return torch.zeros_like(logps[0])
    logp = logps[tree.place]
    if tree.false is None:
        return logp + _weigh(tree.true, logps)
    false = log1mexp(logp) + _weigh(tree.false, logps)
    return false if tree.true is None else torch.logaddexp(logp + _weigh(tree.true, logps), false)

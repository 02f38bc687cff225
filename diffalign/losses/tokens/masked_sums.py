"""Sums over the tokens of an answer of its logratio and of its divergence from the reference, each under a mask."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import upcast
from diffalign.losses.pair_logps import AnswerLogps


class MaskedSums(NamedTuple):
    """Sums over the tokens of an answer.

    Args:
        logratio: ``u``, ``(B,)``.
        divergence: ``d``, ``(B,)``.
        masks: ``(2, B)``, of the reward's and of the divergence's mask.
    """

    logratio: Tensor
    divergence: Tensor
    masks: Tensor


def masked_sums(answer: AnswerLogps) -> MaskedSums:
    """Returns the sums of an answer, ``(B,)`` each; without masks every token has weight 1.

    Raises:
        ValueError: Log-probabilities without parts, or without divergence.
    """
    policy, ratios = answer.policy, answer.part_logratios
    if policy.divergence is None:
        raise ValueError(
            "this loss weighs the divergence of policy and reference at each token, but it was not computed; compute "
            "both side by side (the policy's compare_parts)"
        )
    masks = policy.masks
    if masks is None:
        inside = torch.ones_like(ratios)
        if policy.lengths is not None:
            inside = (torch.arange(ratios.shape[1], device=ratios.device) < policy.lengths.unsqueeze(1)).to(ratios)
        masks = torch.stack([inside, inside])
    reward, divergence = upcast(masks).unbind(0)
    return MaskedSums(
        (reward * ratios).sum(1),
        (divergence * upcast(policy.divergence)).sum(1),
        torch.stack([reward.abs().sum(1), divergence.abs().sum(1)]),
    )

"""What there is to tell of a comparison of policy and reference by parts: how far apart they are, what masks keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import CandidateLogps

ROLES = ("chosen", "rejected")
TERMS = ("reward", "divergence")


def part_diagnostics(candidates: Sequence[CandidateLogps]) -> dict[str, Tensor]:
    """Diagnostics ``(B,)`` of the first two candidates, without gradient; none where there is nothing to compare.

    ``"seq_kl/ROLE"`` is the sum of the divergences; of each mask's parts that count, ``"mask/sparsity_TERM/ROLE"`` is
    the share that is exactly 0 and ``"mask/mean_TERM/ROLE"`` the mean: a mask times c is a beta times c.
    """
    found: dict[str, Tensor] = {}
    for role, scores in zip(ROLES, candidates, strict=False):
        if scores.divergence is not None:
            found[f"seq_kl/{role}"] = scores.divergence.detach().sum(1)
        if scores.masks is None:
            continue
        masks = scores.masks.detach()
        width = masks.shape[-1]
        counts = masks.new_full(masks.shape[1:2], width) if scores.lengths is None else scores.lengths.to(masks)
        there = torch.arange(width, device=masks.device) < counts[:, None]
        for term, mask in zip(TERMS, masks, strict=True):
            found[f"mask/sparsity_{term}/{role}"] = ((mask == 0.0) & there).sum(1) / counts.clamp(min=1.0)
            found[f"mask/mean_{term}/{role}"] = mask.sum(1) / counts.clamp(min=1.0)
    return found

"""Diagnostics of a comparison of policy and reference by parts: divergence, and the share that masks keep."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffalign.losses.candidate_logps import CandidateLogps

ROLES = ("chosen", "rejected")
TERMS = ("reward", "divergence")


def part_diagnostics(candidates: Sequence[CandidateLogps]) -> dict[str, Tensor]:
    """Returns diagnostics ``(B,)`` of the first two candidates, without gradient; none without a divergence or masks.

    ``"seq_kl/ROLE"`` is the sum of the divergences. Over the parts that count, ``"mask/sparsity_TERM/ROLE"`` is the
    share of a mask that is exactly 0, and ``"mask/mean_TERM/ROLE"`` its mean: a mask times c is a beta times c.
    """
    diagnostics: dict[str, Tensor] = {}
    for role, candidate in zip(ROLES, candidates, strict=False):
        if candidate.divergence is not None:
            diagnostics[f"seq_kl/{role}"] = candidate.divergence.detach().sum(1)
        if candidate.masks is None:
            continue
        masks = candidate.masks.detach()
        width = masks.shape[-1]
        counts = masks.new_full(masks.shape[1:2], width) if candidate.lengths is None else candidate.lengths.to(masks)
        there = torch.arange(width, device=masks.device) < counts[:, None]
        for term, mask in zip(TERMS, masks, strict=True):
            diagnostics[f"mask/sparsity_{term}/{role}"] = ((mask == 0.0) & there).sum(1) / counts.clamp(min=1.0)
            diagnostics[f"mask/mean_{term}/{role}"] = mask.sum(1) / counts.clamp(min=1.0)
    return diagnostics

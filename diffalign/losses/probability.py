"""Probabilities by their logarithms: what is left of one, precise near 0 and near 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SURE = -1e-7
"""Log-probabilities above count as this one: certainty leaves nothing, and the logarithm of nothing is infinite."""


def log1mexp(logp: Tensor) -> Tensor:
    """``log(1 - exp(logp))``, its gradient too; from ``SURE`` on it is constant.

    Args:
        logp: Any shape, 0 at most.
    """
    logp = logp.clamp(max=SURE)
    near = logp > -math.log(2.0)
    # Each form on its own side only: the other one's gradient would be infinite there, and infinity times zero is none.
    small = torch.log(-torch.expm1(torch.where(near, logp, -1.0)))
    large = torch.log1p(-torch.exp(torch.where(near, -1.0, logp)))
    return torch.where(near, small, large)

"""The complement of a probability in logarithms, precise near 0 and near 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

SURE = -1e-7
"""Largest log-probability: larger ones are clamped to it, because the logarithm of ``1 - 1`` is infinite."""


def log1mexp(logp: Tensor) -> Tensor:
    """Returns ``log(1 - exp(logp))``, with a precise gradient; from ``SURE`` on it is constant.

    Args:
        logp: Any shape, 0 at most.
    """
    logp = logp.clamp(max=SURE)
    near = logp > -math.log(2.0)
    # Each form on its own side only: the gradient of the other would be infinite there, and infinity times 0 is nan.
    small = torch.log(-torch.expm1(torch.where(near, logp, -1.0)))
    large = torch.log1p(-torch.exp(torch.where(near, -1.0, logp)))
    return torch.where(near, small, large)

"""Exponentials and complements of probabilities that stay finite.

Each is exact up to an edge and continues beyond it as its tangent there: float32 holds the value, the curve stays
monotone, and an example far beyond the edge is pulled with the slope of the edge, not with none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

SURE = -1e-7
"""Edge of :func:`log1mexp`: the logarithm of ``1 - 1`` is infinite, and a float32 has no probability nearer to 1."""
STEEP = 20.0
"""Edge of :func:`bounded_exp`. Its slope, ``exp(20)`` or 5e8, times a logratio of a million and a beta of thousands is
still a float32 when it is squared.
"""


def bounded_exp(x: Tensor) -> Tensor:
    """Returns ``exp(x)``, from ``STEEP`` on its tangent; shape as given."""
    inner, beyond = _split(x, STEEP)
    return torch.exp(inner) + math.exp(STEEP) * beyond


def bounded_expm1(x: Tensor) -> Tensor:
    """Returns ``exp(x) - 1``, precise near 0, from ``STEEP`` on its tangent; shape as given."""
    inner, beyond = _split(x, STEEP)
    return torch.expm1(inner) + math.exp(STEEP) * beyond


def log1mexp(logp: Tensor) -> Tensor:
    """Returns ``log(1 - exp(logp))``, with a precise gradient; from ``SURE`` on its tangent, whose slope is -1e7.

    Args:
        logp: Any shape, 0 at most.
    """
    inner, beyond = _split(logp, SURE)
    near = inner > -math.log(2.0)
    # Each form on its own side only: the gradient of the other would be infinite there, and infinity times 0 is nan.
    small = torch.log(-torch.expm1(torch.where(near, inner, -1.0)))
    large = torch.log1p(-torch.exp(torch.where(near, -1.0, inner)))
    return torch.where(near, small, large) - beyond / math.expm1(-SURE)


def _split(x: Tensor, edge: float) -> tuple[Tensor, Tensor]:
    """Returns ``x`` up to the edge and by how much it is beyond. Their gradients add up to 1 everywhere; those of
    ``clamp`` are both 0 at the edge itself.
    """
    is_beyond = x > edge
    return torch.where(is_beyond, edge, x), torch.where(is_beyond, x - edge, 0.0)

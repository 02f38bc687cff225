"""Momentum between rounds: a policy is moved on in the direction of its last round.

    theta + m (theta - theta_before)

of every weight that trains. Of a LoRA, whose update is ``B A``, the same of the update, which has twice the rank; the
nearest adapter of its own rank takes its place (singular values), and the relative distance is returned.

Source: He et al. 2024 (arXiv 2410.06293), accelerated preference optimisation, for all weights; for adapters it is
ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

DOWN, UP = "lora_A", "lora_B"


def extrapolate(
    now: Mapping[str, Tensor], before: Mapping[str, Tensor], momentum: float
) -> tuple[dict[str, Tensor], float]:
    """Returns the state moved on, and the distance of adapters from the exact result relative to its size; 0 where it
    is exact.

    Args:
        now, before: States of a policy, by name.
        momentum: ``m``, 0 or more.

    Facts: ``m = 0`` returns the state itself, bit for bit.
    """
    if momentum == 0.0:
        return dict(now), 0.0
    moved, missed, size = dict[str, Tensor](), 0.0, 0.0
    for name, value in now.items():
        up = name.replace(DOWN, UP)
        if DOWN in name and up in now:
            exact = _low_rank(now, before, name, up, momentum)
            moved[name], moved[up], error = _nearest(*exact, now[name], now[up])
            missed, size = missed + error, size + float((exact[1].double() @ exact[0].double()).square().sum())
        elif UP not in name or name.replace(UP, DOWN) not in now:
            moved[name] = (value.double() + momentum * (value.double() - before[name].double())).to(value.dtype)
    return moved, math.sqrt(missed / size) if size else 0.0


def _low_rank(
    now: Mapping[str, Tensor], before: Mapping[str, Tensor], down: str, up: str, momentum: float
) -> tuple[Tensor, Tensor]:
    """Returns ``A`` and ``B`` of twice the rank whose product is the exact result."""
    factors = (1.0 + momentum, now), (-momentum, before)
    downs = torch.cat([state[down].double().flatten(1) for _, state in factors])
    return downs, torch.cat([factor * state[up].double().flatten(1) for factor, state in factors], dim=1)


def _nearest(down: Tensor, up: Tensor, like_down: Tensor, like_up: Tensor) -> tuple[Tensor, Tensor, float]:
    """Returns the factors of the nearest product of the rank that ``like_down`` has, and its squared distance."""
    rank = like_down.shape[0]
    left, upper = torch.linalg.qr(up)
    right, lower = torch.linalg.qr(down.T)
    u, values, v = torch.linalg.svd(upper @ lower.T)
    root = values[:rank].sqrt()
    new_down = (root[:, None] * v[:rank] @ right.T).reshape(like_down.shape).to(like_down.dtype)
    new_up = (left @ u[:, :rank] * root).reshape(like_up.shape).to(like_up.dtype)
    return new_down, new_up, float(values[rank:].square().sum())

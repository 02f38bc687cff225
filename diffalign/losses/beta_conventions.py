"""Conventions for beta: the same training run in the notation of other implementations.

For denoisers every implementation puts ``-k (error gap)`` into the sigmoid, but they disagree on ``k``: whether a
latent's squared error is averaged or summed over its ``D`` elements, and whether it has a factor 1/2. The
published 2000 to 5000 hold for a mean with the half; read as a sum they would be ``D`` times too strong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple


class Equivalent(NamedTuple):
    """One beta in one convention, and the implementations that use it."""

    value: float
    explanation: str


@dataclass(frozen=True)
class Convention:
    """``u = -factor * beta * reduction(error gap)``, the reduction a mean or a sum over a latent's elements."""

    factor: float
    summed: bool
    users: str

    def strength(self, elements: int) -> float:
        """Returns the factor on the *mean* error gap when beta is 1."""
        return self.factor * (elements if self.summed else 1)


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        "mean_half": Convention(
            0.5, False, "this package; Salesforce DiffusionDPO, InPO, SmPO, VideoDPO; flow_grpo (velocity error)"
        ),
        "mean": Convention(1.0, False, "diffusers' diffusion_dpo script for SD 1.5, Diffusion-KTO"),
        "sum_half": Convention(0.5, True, "SimpleTuner's Flow-DPO with its default norm"),
        "sum": Convention(1.0, True, "the pseudo-code of the Diffusion-DPO paper; its beta T omega in eq. 14"),
    }
)


def equivalent_betas(beta: float, *, convention: str = "mean_half", elements: int) -> dict[str, Equivalent]:
    """Returns a beta in every convention, each for the same loss.

    Args:
        beta: The beta to restate, > 0.
        convention: Its convention, a key of :data:`CONVENTIONS`.
        elements: Elements of one latent, ``D = channels * height * width`` (times frames): 16384 for SD 1.5 at 512
            pixels, 65536 for SDXL at 1024.

    Returns:
        ``{convention: (value, explanation)}``, the given one included. The comparison holds between runs that measure
        the same error (noise, velocity, ...) at the same noise levels.

    Sources: Wallace et al. 2023 (arXiv 2311.12908), eq. 14 and pseudo-code; the 1/2 is from its supplement S4.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"a beta is written in one of {', '.join(CONVENTIONS)}; got {convention!r}")
    if not (0.0 < beta < math.inf):
        raise ValueError(f"beta must be positive and finite; got {beta:g}. Published denoiser runs take 2000 to 5000.")
    if elements < 1:
        raise ValueError(f"elements counts the numbers of one latent, so it is at least 1; got {elements}")
    strength = beta * CONVENTIONS[convention].strength(elements)
    return {name: _restated(row, strength, elements) for name, row in CONVENTIONS.items()}


def _restated(row: Convention, strength: float, elements: int) -> Equivalent:
    half = "" if row.factor == 1.0 else f"{row.factor:g} "
    reduction = f"sum over {elements} elements" if row.summed else "mean"
    return Equivalent(strength / row.strength(elements), f"{half}beta x {reduction} of squared errors: {row.users}")

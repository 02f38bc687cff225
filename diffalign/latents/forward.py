"""Forward noising: a candidate is judged where the diffusion process would have put it, ``x_t = a_t x0 + s_t eps``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from diffalign.latents.draws import Draw
from diffalign.latents.schedule import Schedule

Predict = Callable[[Tensor, Tensor], Tensor]
"""``predict(x_t, t)``: a network's output, for estimators that ask one."""


@dataclass(frozen=True)
class Latent:
    """Where and against what a candidate is judged.

    Args:
        x_t: ``(B, ...)``, the network's input.
        t: ``(B,)`` long, its noise level.
        target: ``(B, ...)``, what the output is compared with.
    """

    x_t: Tensor
    t: Tensor
    target: Tensor


def forward_noising(x0: Tensor, t: Tensor, noise: Tensor, schedule: Schedule, predict: Predict | None = None) -> Latent:
    """Mixes clean latents with noise.

    Args:
        x0: ``(B, ...)`` clean latents, scaled as the model wants them.
        t: ``(B,)`` levels.
        noise: ``(B, ...)`` standard normal. A pair shares one noise and one level: the part of the error that both
            candidates have in common then cancels in the margin, which cuts its variance without a bias.
        schedule: The model's noise schedule.
        predict: Not asked; present because other estimators ask it.

    Source: Wallace et al. 2023 (arXiv 2311.12908), eq. 14 and the pseudo-code of its supplement.
    """
    return Latent(x_t=schedule.add_noise(x0, noise, t), t=t, target=schedule.target(x0, noise, t))


def timesteps(draw: Draw, schedule: Schedule, low: int = 0, high: int | None = None) -> Tensor:
    """``(B,)`` long: one level per example, each of ``[low, high)`` equally likely.

    Args:
        draw: The batch's randomness; purpose "timestep".
        schedule: The model's noise schedule.
        low: First level.
        high: One past the last level; None for every level that can teach (see :attr:`Schedule.informative`).
    """
    end = schedule.informative if high is None else high
    if not 0 <= low < end <= schedule.levels:
        raise ValueError(f"levels run from 0 to {schedule.levels - 1}; got the empty or outside range [{low}, {end})")
    if end > schedule.informative:
        raise ValueError(
            f"level {schedule.levels - 1} of this schedule is pure noise, where epsilon prediction cannot tell two "
            f"candidates apart; got the range [{low}, {end}). Use at most {schedule.informative} as its end."
        )
    return draw.integers("timestep", low, end)

"""Forward noising: a candidate is scored at a latent of the diffusion process, ``x_t = a_t x0 + s_t eps``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from diffalign.latents.estimator import Estimator, Latent, Noise, Predict
from diffalign.latents.schedule import Schedule
from diffalign.randomness import Draw


def forward_noising(x0: Tensor, t: Tensor, noise: Tensor, schedule: Schedule) -> Latent:
    """Mixes clean latents with noise.

    Args:
        x0: ``(B, ...)`` clean latents in the network's scale.
        t: ``(B,)`` levels.
        noise: ``(B, ...)`` standard normal. A pair shares one noise and one level: the part of the error that both
            candidates have in common then cancels in the margin, which reduces its variance without a bias.
        schedule: The model's noise schedule.

    Source: Wallace et al. 2023 (arXiv 2311.12908), eq. 14 and the pseudo-code of its supplement.
    """
    return Latent(x_t=schedule.add_noise(x0, noise, t), t=t, target=schedule.target(x0, noise, t))


def forward(x0: Tensor, t: Tensor, schedule: Schedule, *, noise: Noise, predict: Predict) -> Latent:
    """Returns :func:`forward_noising` with the pair's one noise. ``predict`` is not called."""
    return forward_noising(x0, t, noise("noise", True).to(x0), schedule)


FORWARD = Estimator(
    name="forward",
    function=forward,
    needs_network=False,
    forward_counts=lambda t, levels, settings: torch.zeros_like(t),
    summary="clean latents mixed with fresh noise, one noise and one level per pair",
    formula="x_t = a_t x0 + s_t eps,   target: the output of a perfect network for eps",
    source="Wallace et al. 2023 (arXiv 2311.12908), eq. 14",
    advice="The default, and the cheapest: it needs no network.",
)


def timesteps(
    draw: Draw, schedule: Schedule, low: int = 0, high: int | None = None, listed: Sequence[int] = ()
) -> Tensor:
    """Draws one level per example, ``(B,)`` long, uniformly from ``[low, high)`` or from a list.

    Args:
        draw: The batch's randomness; purpose "timestep".
        schedule: The model's noise schedule.
        low: First level.
        high: One past the last level; None for every level that gives a margin (see :attr:`Schedule.informative`).
        listed: Levels to draw from instead, such as the four of a distilled model; one that is listed twice is drawn
            twice as often.
    """
    if listed:
        low, high = min(listed), max(listed) + 1
    end = schedule.informative if high is None else high
    if not 0 <= low < end <= schedule.levels:
        raise ValueError(f"levels run from 0 to {schedule.levels - 1}; got the empty or outside range [{low}, {end})")
    if end > schedule.informative:
        raise ValueError(
            f"level {schedule.levels - 1} of this schedule is pure noise, where epsilon prediction cannot tell two "
            f"candidates apart; got the range [{low}, {end}). Use at most {schedule.informative} as its end."
        )
    if listed:
        return torch.tensor(listed)[draw.integers("timestep", 0, len(listed))]
    return draw.integers("timestep", low, end)

"""The published scripts' inversion, with its deviations: to reproduce their runs, and to measure the deviations' cost.

Differences to the exact path, as the released InPO and SmPO scripts behave with diffusers 0.20:

- The grid is fixed: steps start at ``1 - r, 1, 1 + r, 1 + 2 r, ...`` with ``r = T // N``; every step that starts below
  ``t`` is taken. So a latent ends at the next grid level *above* ``t``, but the network gets the time ``t``, and the
  target is computed as if the latent were at that level: at t = 2 of Stable Diffusion's 1000 levels, noise of rms 1 is
  treated as 6.55.
- The first evaluation, at the clean latent, gets the negative time ``1 - r``; its scales are those of level 0.
- Corrections are evaluated at the time of the step's *start*, and averaged.

The scripts ran one pair per device, so here each row has its own depth. They support epsilon predictions only; other
outputs are converted with the scales of the network's time. They kept some coefficients in half precision, which is not
reproduced.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffalign.latents.estimator import Latent
from diffalign.latents.inversion_path import Clean, InversionPath
from diffalign.latents.schedule import CLEAN, Schedule


def released_steps(t: Tensor, steps: int, levels: int) -> Tensor:
    """Returns the number of steps that start below ``t``, ``(B,)`` long; the first step always counts.

    For 1000 levels, each equally likely, the mean is 6.382 of 10 steps, 3.792 of 5.
    """
    ratio = levels // steps
    return ((t - 1 + ratio - 1) // ratio + 1).clamp(1, steps)


def released_path(t: Tensor, steps: int, levels: int, clean: Clean = "alpha0") -> InversionPath:
    """Returns the scripts' path. Raises ValueError for more steps than half the levels, where their grid degenerates.

    Args:
        t: ``(B,)`` levels, 0 or more.
        steps: ``N``, the scripts' argument of ``set_timesteps``.
        levels: ``T``, levels of the schedule.
        clean: As in :func:`~diffalign.latents.inversion_path.exact_path`; the scripts use "alpha0".
    """
    if not 1 <= steps <= levels // 2:
        raise ValueError(
            f"the released inversion takes between 1 and {levels // 2} steps with {levels} levels; got steps: {steps}"
        )
    counts = released_steps(t.cpu().long(), steps, levels)
    k = torch.arange(int(counts.max()) + 1).minimum(counts[:, None])
    times = 1 + (k - 1) * (levels // steps)
    return InversionPath(times.clamp(min=0 if clean == "alpha0" else CLEAN), counts, times[:, :-1])


def relabel_level(x0: Tensor, tau: Tensor, reached: Tensor, t: Tensor, schedule: Schedule) -> Latent:
    """Treats the latent at level ``reached`` as one at level ``t``: ``tau' = (x - a_t x0) / s_t``.

    Args:
        x0: ``(B, ...)`` clean latents.
        tau: ``(B, ...)`` result of the inversion.
        reached: ``(B,)`` levels where it ended.
        t: ``(B,)`` levels that the latents are treated as.
        schedule: The model's noise schedule.
    """
    wide = x0.to(tau.dtype)
    x = schedule.add_noise(wide, tau, reached)
    a, s = schedule.signal_noise(t, wide)
    target = schedule.target(wide, (x - a * wide) / s, t)
    return Latent(x.to(x0.dtype), t, target.to(x0.dtype))

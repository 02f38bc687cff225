"""Paths: the levels of an inversion from the clean latent to the level of each row.

Row ``b`` takes ``n_b`` steps; step ``k`` leads from level ``p_k`` to level ``p_{k+1}``. In the exact path, from a start
level ``L``,

    n = max(1, ceil(N (t - L) / T)),      p_k = round(L + (t - L) (k / n)^rho),      so p_0 = L and p_n = t

``L`` is -1, the clean latent, and ``rho`` is 1 where a method does not say otherwise. A larger ``rho`` makes the first
steps shorter; steps are never shorter than one level. A row whose level is ``L`` or below takes no step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffalign.latents.schedule import CLEAN

Clean = Literal["one", "alpha0"]


@dataclass(frozen=True)
class InversionPath:
    """Levels of every row, on the CPU.

    Args:
        levels: ``(B, S + 1)`` long: step ``k`` leads from column ``k`` to column ``k + 1``, with ``S`` the most steps
            of any row. Columns past a row's last step repeat its last level.
        steps: ``(B,)`` long, 0 or more: the number of steps of each row.
        times: ``(B, S)`` long: the level of the network's time at the start of step ``k``.
    """

    levels: Tensor
    steps: Tensor
    times: Tensor

    @property
    def reached(self) -> Tensor:
        """``(B,)`` long: the level where each row ends."""
        return self.levels.gather(1, self.steps[:, None])[:, 0]


def exact_steps(t: Tensor, steps: int, levels: int, start: int = CLEAN) -> Tensor:
    """Returns ``max(1, ceil(steps (t - start) / levels))``, ``(B,)`` long, and 0 up to the start. From the clean latent
    its mean over all levels is near ``(steps + 1) / 2``.
    """
    return torch.where(t > start, ((steps * (t - start) + levels - 1) // levels).clamp(min=1), 0)


def exact_path(
    t: Tensor, steps: Tensor, clean: Clean = "one", first_time: int = 0, *, start: int = CLEAN, spacing: float = 1.0
) -> InversionPath:
    """Returns levels from the start to exactly ``t``.

    Args:
        t: ``(B,)`` levels, 0 or more.
        steps: ``(B,)`` steps, each in [1, t - start]: more steps than levels would repeat a level. 0 for levels up to
            the start.
        clean: "one": the clean latent has no noise (``a = 1``). "alpha0": it is treated as a latent at level 0.
        first_time: The first level whose time the network takes, see :attr:`Schedule.first_time`.
        start: ``L``, the level of the latents that are inverted.
        spacing: ``rho``, 1 or more: 1 makes all steps equally long.
    """
    t, steps = t.cpu().long(), steps.cpu().long()
    depth = (t - start).clamp(min=0)
    if bool((t < 0).any()) or bool((steps < (depth > 0)).any()) or bool((steps > depth).any()):
        most = f"t - {start}" if start >= 0 else f"t + {-start}"
        raise ValueError(
            f"an inversion from level {start} to level t takes between 1 and {most} steps, and none where t is not "
            f"above that level; got levels {t.tolist()} in {steps.tolist()} steps"
        )
    k = torch.arange(int(steps.max()) + 1).minimum(steps[:, None])
    n = steps.clamp(min=1)[:, None].double()
    climbed = depth[:, None] * k / n if spacing == 1.0 else depth[:, None] * (k / n) ** spacing
    levels = torch.round(climbed + start).long().maximum(start + k)
    levels = torch.where(depth[:, None] > 0, levels, t[:, None])
    if clean == "alpha0":
        levels = levels.clamp(min=0)
    return InversionPath(levels, steps, levels[:, :-1].clamp(min=first_time))

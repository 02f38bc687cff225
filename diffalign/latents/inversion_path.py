"""Paths: the levels of an inversion from the clean latent to the level of each row.

Row ``b`` takes ``n_b`` steps; step ``k`` leads from level ``p_k`` to level ``p_{k+1}``. In the exact path

    n = max(1, ceil(N (t + 1) / T)),      p_k = round(-1 + (t + 1) k / n),      so p_0 = -1 (clean) and p_n = t
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Clean = Literal["one", "alpha0"]


@dataclass(frozen=True)
class InversionPath:
    """Levels of every row, on the CPU.

    Args:
        levels: ``(B, S + 1)`` long: step ``k`` leads from column ``k`` to column ``k + 1``, with ``S`` the most steps
            of any row. Columns past a row's last step repeat its last level.
        steps: ``(B,)`` long, 1 or more: the number of steps of each row.
        times: ``(B, S)`` long: the level of the network's time at the start of step ``k``.
    """

    levels: Tensor
    steps: Tensor
    times: Tensor

    @property
    def reached(self) -> Tensor:
        """``(B,)`` long: the level where each row ends."""
        return self.levels.gather(1, self.steps[:, None])[:, 0]


def exact_steps(t: Tensor, steps: int, levels: int) -> Tensor:
    """Returns ``max(1, ceil(steps (t + 1) / levels))``, ``(B,)`` long. Its mean over all levels is near
    ``(steps + 1) / 2``.
    """
    return ((steps * (t + 1) + levels - 1) // levels).clamp(min=1)


def exact_path(t: Tensor, steps: Tensor, clean: Clean = "one", first_time: int = 0) -> InversionPath:
    """Returns evenly spaced levels from the clean latent to exactly ``t``.

    Args:
        t: ``(B,)`` levels, 0 or more.
        steps: ``(B,)`` steps, each in [1, t + 1]: more steps than levels would repeat a level.
        clean: "one": the clean latent has no noise (``a = 1``). "alpha0": it is treated as a latent at level 0.
        first_time: The first level whose time the network takes, see :attr:`Schedule.first_time`.
    """
    t, steps = t.cpu().long(), steps.cpu().long()
    if bool((t < 0).any()) or bool((steps < 1).any()) or bool((steps > t + 1).any()):
        raise ValueError(
            "an inversion to level t takes between 1 and t + 1 steps; "
            f"got levels {t.tolist()} in {steps.tolist()} steps"
        )
    k = torch.arange(int(steps.max()) + 1).minimum(steps[:, None])
    levels = torch.round((t + 1)[:, None] * k / steps[:, None].double() - 1.0).long()
    if clean == "alpha0":
        levels = levels.clamp(min=0)
    return InversionPath(levels, steps, levels[:, :-1].clamp(min=first_time))

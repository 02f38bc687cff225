"""The running reference point: midpoint of what desirable and undesirable examples have gained so far (BCO).

    point = (mean logratio of desirable examples + mean logratio of undesirable ones) / 2

over all examples of the steps before this one: the first step measures from 0, which is what every logratio is then.
One side alone met so far: its mean is the point. It is a few numbers, the same on all processes, and part of a
checkpoint. (TRL takes one mean over both sides, and counts the current micro-batch in.)

Source: Jung et al. 2024 (arXiv 2404.04656), section 4.2: the midpoint is where the bound on DPO's loss is tightest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class RunningShift:
    """Sums of logratios by side."""

    def __init__(self) -> None:
        self.sums = [0.0, 0.0]
        self.counts = [0, 0]

    def update(self, logratios: Tensor, desirable: Tensor) -> None:
        """Counts the examples of a step, over all processes.

        Args:
            logratios: ``(B,)``.
            desirable: ``(B,)`` of booleans.
        """
        values, good = logratios.detach().double().cpu(), desirable.bool().cpu()
        for side, where in enumerate((good, ~good)):
            self.sums[side] += float(values[where].sum())
            self.counts[side] += int(where.sum())

    def point(self) -> Tensor:
        """A float32 scalar: the logratio that counts as neither gain nor loss."""
        means = [total / count for total, count in zip(self.sums, self.counts, strict=True) if count]
        return torch.tensor(sum(means) / len(means) if means else 0.0)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"sums": list(self.sums), "counts": list(self.counts)}

    def load_state(self, state: dict[str, Any]) -> None:
        """Puts a checkpoint's sums back."""
        self.sums, self.counts = list(state["sums"]), list(state["counts"])

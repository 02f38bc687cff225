"""The numbers of one optimizer step, over all processes: mean loss, gradient norm, and whether they are finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffalign.errors import RunError
from diffalign.training.step.micro_batch_step import MicroBatchResult
from diffalign.training.step.skip_zero_weight_pairs import SkippedPairs


@dataclass(frozen=True)
class StepStats:
    """The numbers of one optimizer step, over all processes.

    Args:
        loss: Mean loss per pair.
        grad_norm: Global norm of the gradient before clipping.
        chosen_change: Mean error of the chosen candidates minus the reference's; None when the policy is no denoiser.
        non_finite_losses: How many pairs have a loss that is not a finite number.
    """

    loss: float
    grad_norm: float
    chosen_change: float | None = None
    non_finite_losses: int = 0

    def series(self) -> dict[str, float]:
        """Returns the numbers that the spike guard watches, on the scales on which it compares them."""
        positive = {"loss": self.loss, "grad_norm": self.grad_norm}
        series = {name: math.log(value) for name, value in positive.items() if value > 0}
        if self.chosen_change is not None:
            series["chosen_change"] = self.chosen_change
        return {name: value for name, value in series.items() if math.isfinite(value)}


def local_sums(results: Sequence[MicroBatchResult], skipped: SkippedPairs) -> Tensor:
    """Returns ``(4,)``, the sums of this process: losses, non-finite losses, changes of error, and number of these."""
    losses = torch.cat([result.losses for result in results])
    non_finite = (~torch.isfinite(losses)).sum().to(losses.dtype)
    total = losses.sum() + float(skipped.losses.sum())
    changes = [result.chosen_change for result in results if result.chosen_change is not None]
    changed, count = torch.stack(changes).sum(dim=0).to(non_finite) if changes else (non_finite * 0, non_finite * 0)
    return torch.stack([total, non_finite, changed, count])


def step_stats(sums: Tensor, grad_norm: Tensor, batch_size: int) -> StepStats:
    """Reads the numbers of a step: its only wait for the device.

    Args:
        sums: :func:`local_sums`, summed over all processes.
        grad_norm: The gradient's norm before clipping, a scalar.
        batch_size: Pairs in the step, over all processes.
    """
    total, non_finite, changed, count, norm = torch.cat([sums, grad_norm.reshape(1).to(sums)]).tolist()
    return StepStats(
        loss=total / batch_size,
        grad_norm=norm,
        chosen_change=changed / count if count else None,
        non_finite_losses=int(non_finite),
    )


def not_finite_error(stats: StepStats, results: Sequence[MicroBatchResult], ids: Sequence[str], step: int) -> RunError:
    """Returns the error for a loss or a gradient that is not finite.

    Args:
        stats: The step's numbers.
        results: The micro-batches of this process.
        ids: The ids of its pairs, in the order of ``results``.
        step: The step, counted from 0.
    """
    if stats.non_finite_losses:
        finite = torch.cat([torch.isfinite(result.losses) for result in results]).tolist()
        bad = [name for name, is_finite in zip(ids, finite, strict=True) if not is_finite]
        what, where = "the loss is", f"pairs {', '.join(bad) or 'of another process'}"
    else:
        what, where = "the gradient is", "no single pair is the cause"
    return RunError(
        f"{what} not a finite number at step {step + 1} ({where}). Nothing was stepped: the last checkpoint is good. "
        "Look at these pairs with `diffalign data check`, lower train.learning_rate, or raise the precision "
        "(--set train.mixed_precision=no); then go on with --resume."
    )

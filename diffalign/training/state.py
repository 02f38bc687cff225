"""The state of a run: everything that the next optimizer step depends on, and how it goes into a checkpoint.

Randomness has no state: draws and order are functions of the seed and of the step's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from diffalign.pairs.source import PairSource
from diffalign.policies.policy import Policy
from diffalign.training.held_out.evaluate import HeldOut
from diffalign.training.optim.ema import Ema
from diffalign.training.optim.optimizer_state import flatten, restore
from diffalign.training.recipe.schema import Recipe
from diffalign.training.report.health import Health
from diffalign.training.report.progress import ProgressReport
from diffalign.training.report.trackers import MetricsFile
from diffalign.training.rounds import Rounds
from diffalign.training.step.batch_order import BatchOrder
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.spike_guard import SpikeGuard
from diffalign.training.storage.checkpoint import Snapshot, complete_checkpoints, read_checkpoint, write_checkpoint
from diffalign.training.storage.run_folder import RunFolder


@dataclass
class Run:
    """A run between two steps. ``module`` is the bare network, ``policy.module`` possibly its distributed wrapper."""

    recipe: Recipe
    output: RunFolder
    accelerator: Any
    policy: Policy
    module: nn.Module
    trainable: dict[str, nn.Parameter]
    optimizer: Any
    ema: Ema | None
    order: BatchOrder
    gradient_computer: GradientComputer
    metrics: Metrics
    guard: SpikeGuard
    health: Health
    file: MetricsFile
    report: ProgressReport
    data: PairSource
    held_out: HeldOut | None
    rounds: Rounds
    step: int = 0
    rollbacks: int = 0
    looked: int = 0
    saved: int = 0
    seconds: float = 0.0
    timed: int = 0

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return bool(self.accelerator.is_main_process)

    def speed(self) -> dict[str, float]:
        """Pairs per second since the last call, under a name that comparisons of two runs leave out."""
        steps, seconds = self.step - self.timed, self.seconds
        self.timed, self.seconds = self.step, 0.0
        return {"time/pairs_per_second": steps * self.recipe.train.batch_size / seconds} if seconds else {}

    def reduce(self, tensor: Tensor) -> Tensor:
        """A tensor summed over all processes."""
        return self.accelerator.reduce(tensor, "sum") if self.accelerator.num_processes > 1 else tensor

    @contextmanager
    def as_shared(self) -> Iterator[None]:
        """Within this block the policy is what users get: the bare network, with averaged weights if there are any."""
        wrapped, self.policy.module = self.policy.module, self.module
        try:
            with nullcontext() if self.ema is None else self.ema.swapped(), self.fast_activated():
                yield
        finally:
            self.policy.module = wrapped

    def fast_activated(self) -> AbstractContextManager[None]:
        """Within this block the network is the faster of two sets of weights, where there are two."""
        return (
            nullcontext()
            if self.gradient_computer.fast_slow is None
            else self.gradient_computer.fast_slow.fast_activated()
        )

    def save(self) -> None:
        """Writes a checkpoint."""
        window = self.metrics.state(self.reduce)  # takes part in a reduction, so on every process
        if self.main:
            self.file.sync()
            write_checkpoint(self.output.checkpoints, self._capture(window), self.recipe.checkpoint.keep)
        self.saved = self.step
        self.accelerator.wait_for_everyone()

    def _capture(self, window: dict[str, Any]) -> Snapshot:
        tensors, facts = flatten(self._inner, self.trainable)
        groups = {"policy": self.policy.state(), "optimizer": tensors}
        if self.ema is not None:
            groups["ema"] = self.ema.state()
        scaler = self.accelerator.scaler
        state = {
            "optimizer": facts,
            "ema_updates": self.ema.updates if self.ema else 0,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "guard": self.guard.state(),
            "window": window,
            "shift": self.gradient_computer.shift.state(),
            "chase": self.gradient_computer.fast_slow.state() if self.gradient_computer.fast_slow else None,
            "rollbacks": self.rollbacks,
            "looked": self.looked,
            "metrics_bytes": self.file.size(),
        }
        return Snapshot(self.step, {name: group for name, group in groups.items() if group}, state)

    def enter_round(self) -> None:
        """Before a step: begins the stages that are due, with a checkpoint at their border. None in the middle of a
        spike: that would be no place to go back to, and a resume from the one before it comes here again."""
        self.rounds.enter(self.step, lambda: self.save() if self.saved != self.step and not self.guard.streak else None)
        if self.data.every and self.step % self.data.every == 0:
            self.guard.compare_anew()

    def resume(self) -> None:
        """Goes to the last complete checkpoint, exactly; without one, to the beginning."""
        found = complete_checkpoints(self.output.checkpoints)
        snapshot = read_checkpoint(found[-1]) if found else None
        if snapshot is not None:
            self._restore_weights(snapshot)
            self.step, self.rollbacks = snapshot.step, snapshot.facts["rollbacks"]
            self.looked, self.timed, self.saved = snapshot.facts["looked"], self.step, self.step
            self.guard.load_state(snapshot.facts["guard"])
            if self.main:  # the saved window is the sum over processes, so one of them takes it
                self.metrics.load_state(snapshot.facts["window"], self.accelerator.device)
        if self.main:
            self.file.cut(snapshot.facts["metrics_bytes"] if snapshot else 0)
        self.accelerator.wait_for_everyone()
        self.health = self.health.again(self.file.records())

    def roll_back(self) -> int:
        """Takes weights and optimizer back to the last checkpoint and returns its step. The count of steps goes on: the
        batches in between are not shown again, and the plan of visits stays what it was."""
        self.accelerator.wait_for_everyone()
        snapshot = read_checkpoint(complete_checkpoints(self.output.checkpoints)[-1])
        self._restore_weights(snapshot)
        self.rollbacks += 1
        self.guard.reset_streak()
        return snapshot.step

    def _restore_weights(self, snapshot: Snapshot) -> None:
        wrapped, self.policy.module = self.policy.module, self.module
        self.policy.load_state(snapshot.tensors["policy"])
        self.policy.module = wrapped
        restore(self._inner, self.trainable, snapshot.tensors.get("optimizer", {}), snapshot.facts["optimizer"])
        self.gradient_computer.shift.load_state(snapshot.facts["shift"])
        if self.gradient_computer.fast_slow is not None:
            self.gradient_computer.fast_slow.load_state(snapshot.facts["chase"])
        if self.ema is not None:
            self.ema.load_state(snapshot.tensors["ema"], snapshot.facts["ema_updates"])
        if snapshot.facts["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(snapshot.facts["scaler"])

    @property
    def _inner(self) -> Any:
        return self.optimizer.optimizer  # accelerate's wrapper holds the real one

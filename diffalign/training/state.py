"""The state of a run: everything that the next optimizer step depends on, and how a checkpoint stores it.

Randomness has no state: draws and order are functions of the seed and of the step's number.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from diffalign.devices.out_of_memory import explain_out_of_memory
from diffalign.devices.processes import from_main
from diffalign.errors import RunError
from diffalign.pairs.source import PairSource
from diffalign.policies.policy import Policy
from diffalign.training.held_out.evaluate import HeldOut
from diffalign.training.optim.ema import Ema
from diffalign.training.optim.optimizer_state import flatten, restore
from diffalign.training.recipe.schema import Recipe
from diffalign.training.report.calibration import Calibration
from diffalign.training.report.health import Health
from diffalign.training.report.noise_watch import NoiseWatch
from diffalign.training.report.progress import ProgressReport
from diffalign.training.report.trackers import MetricsFile
from diffalign.training.rounds import Rounds
from diffalign.training.step.batch_order import BatchOrder
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.step.metrics import Metrics
from diffalign.training.step.spike_guard import SpikeGuard
from diffalign.training.storage.checkpoint import (
    Snapshot,
    read_checkpoint,
    restoring,
    set_damaged_aside,
    write_checkpoint,
)
from diffalign.training.storage.checkpoint_folder import is_extra
from diffalign.training.storage.run_folder import RunFolder
from diffalign.training.storage.trained_on import TrainedOn

GO_ON = "Close other programs and type: --resume"
"""Advice where memory is used up outside of the computation of a step."""


@dataclass
class Run:
    """A run between two steps.

    Args:
        recipe: The recipe.
        output: The output folder.
        accelerator: Devices, processes and precision.
        policy: The policy; its ``module`` may be a distributed wrapper.
        module: The bare network.
        trainable: The parameters that the optimizer steps, by name.
        optimizer: The optimizer, in accelerate's wrapper.
        ema: The moving average of the weights; None: the recipe has none.
        order: Which pairs each step sees.
        gradient_computer: Computes the gradients of a batch.
        metrics: The metrics of the current log window.
        guard: Checks each step for spikes.
        health: Follows the curves.
        metrics_file: ``metrics.jsonl``.
        report: Prints to the terminal.
        source: The source of the training pairs.
        held_out: The held-out pairs; None: the recipe names none.
        rounds: What is renewed every so many steps.
        trained_on: The data of the run, by content, and how it changed.
        noise: Follows the noise of inverted latents; None: there are none, or this process does not log.
        calibration: Compares the first step with the plan of memory, and keeps what the run measured.
        step: Number of optimizer steps done.
        rollbacks: Number of times that the weights went back to a checkpoint.
        logged_step: The step of the last log line.
        saved_step: The step of the last checkpoint.
        timed_step: The step up to which the speed is reported.
        seconds: Time spent in steps since then.
    """

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
    metrics_file: MetricsFile
    report: ProgressReport
    source: PairSource
    held_out: HeldOut | None
    rounds: Rounds
    trained_on: TrainedOn
    noise: NoiseWatch | None = None
    calibration: Calibration | None = None
    step: int = 0
    rollbacks: int = 0
    logged_step: int = 0
    saved_step: int = 0
    timed_step: int = 0
    seconds: float = 0.0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return bool(self.accelerator.is_main_process)

    @property
    def is_done(self) -> bool:
        """Whether all steps of the recipe are done."""
        return self.step == self.recipe.train.steps

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether a checkpoint is written after this step. None within a spike: the run must not go back to it."""
        every = self.recipe.checkpoint.every
        return self.is_done or bool(every and self.step % every == 0 and not self.guard.streak)

    @property
    def preview_is_due(self) -> bool:
        """Whether previews are sampled after this step; those of the last step belong to the end of the run."""
        every = self.recipe.previews.every
        return bool(every and self.step % every == 0 and not self.is_done)

    @property
    def evaluation_is_due(self) -> bool:
        """Whether this log line evaluates the held-out pairs."""
        every = self.recipe.data.eval_every
        return self.is_done or bool(every and self.step // every > self.logged_step // every)

    def speed(self) -> dict[str, float]:
        """Returns pairs per second since the last call, under a name that comparisons of two runs leave out."""
        steps, seconds = self.step - self.timed_step, self.seconds
        if self.calibration is not None and steps > 1:
            self.calibration.seconds = seconds / steps
        self.timed_step, self.seconds = self.step, 0.0
        return {"time/pairs_per_second": steps * self.recipe.train.batch_size / seconds} if seconds else {}

    def reduce(self, tensor: Tensor) -> Tensor:
        """Returns a tensor summed over all processes."""
        return self.accelerator.reduce(tensor, "sum") if self.accelerator.num_processes > 1 else tensor

    @contextmanager
    def as_shared(self) -> Iterator[None]:
        """Within this block the policy is the one that users get: the bare network, with averaged weights if there are
        any, and with the fast one of two adapters.
        """
        wrapped, self.policy.module = self.policy.module, self.module
        try:
            with nullcontext() if self.ema is None else self.ema.swapped(), self.fast_activated():
                yield
        finally:
            self.policy.module = wrapped

    def fast_activated(self) -> AbstractContextManager[None]:
        """Within this block the network computes with the fast adapter, where there are a fast and a slow one."""
        fast_slow = self.gradient_computer.fast_slow
        return nullcontext() if fast_slow is None else fast_slow.fast_activated()

    def save(self, extra: bool = False) -> None:
        """Writes a checkpoint; an ``extra`` one because the run was stopped."""
        window = self.metrics.state(self.reduce)  # takes part in a reduction, so on every process
        if self.is_main:
            self.metrics_file.sync()
            with explain_out_of_memory(f"the checkpoint of step {self.step} is written", GO_ON):
                snapshot = replace(self._snapshot(window), run=self.output.run_id(), extra=extra)
                write_checkpoint(self.output.checkpoints, snapshot, self.recipe.checkpoint.keep)
        self.saved_step = self.step
        self.accelerator.wait_for_everyone()

    def _snapshot(self, window: dict[str, Any]) -> Snapshot:
        """Returns the state. The keys of its facts are part of the format: checkpoints of older versions have them."""
        optimizer_tensors, optimizer_facts = flatten(self._bare_optimizer, self.trainable)
        groups = {"policy": self.policy.state(), "optimizer": optimizer_tensors}
        if self.ema is not None:
            groups["ema"] = self.ema.state()
        scaler, computer = self.accelerator.scaler, self.gradient_computer
        facts = {
            "optimizer": optimizer_facts,
            "ema_updates": self.ema.updates if self.ema else 0,
            "scaler": scaler.state_dict() if scaler is not None else None,
            "guard": self.guard.state(),
            "window": window,
            "shift": computer.bco_shift.state(),
            "chase": computer.fast_slow.state() if computer.fast_slow else None,
            "rollbacks": self.rollbacks,
            "looked": self.logged_step,
            "metrics_bytes": self.metrics_file.size(),
            **self.trained_on.facts(),
        }
        return Snapshot(self.step, {name: group for name, group in groups.items() if group}, facts)

    def enter_round(self) -> None:
        """Before a step: begins the stages that are due, with a checkpoint at their border. Within a spike there is no
        checkpoint: the run must not go back to it, and a resume from the one before comes here again.
        """
        self.rounds.enter(self.step, self._save_at_border)
        if self.source.every and self.step % self.source.every == 0:
            self.guard.forget_reference()

    def _save_at_border(self) -> None:
        if self.saved_step != self.step and not self.guard.streak:
            self.save()

    def resume(self) -> None:
        """Restores the last intact checkpoint, exactly; without one, the beginning."""
        checkpoints = self._intact_checkpoints()
        snapshot = read_checkpoint(checkpoints[-1]) if checkpoints else None
        for path in self.output.damaged_checkpoints(since=snapshot.step if snapshot else 0):
            self.report.say(f"warning: {path} is incomplete or damaged, and passed over")
        if snapshot is not None:
            with restoring(checkpoints[-1]):
                self._restore_weights(snapshot)
                self._restore_counts(snapshot)
        if self.is_main:
            self.metrics_file.cut(snapshot.facts["metrics_bytes"] if snapshot else 0)
        self.accelerator.wait_for_everyone()
        self.health = self.health.again(self.metrics_file.records())

    def roll_back(self) -> int:
        """Restores weights and optimizer of the last checkpoint and returns its step. The count of steps continues: the
        batches in between are not used again, and the plan of visits stays the same. A checkpoint that a stop wrote is
        passed over, so that a run that was stopped and resumed goes back as far as one that was not.
        """
        self.accelerator.wait_for_everyone()
        path = next((path for path in reversed(self._intact_checkpoints()) if not is_extra(path)), None)
        if path is None:
            raise RunError(
                f"there is no intact checkpoint in {self.output.checkpoints} to go back to. Start the run in another "
                "folder (--set output=FOLDER), or ignore spikes: --set guard.action=off --resume"
            )
        snapshot = read_checkpoint(path)
        with restoring(path):
            self._restore_weights(snapshot)
        self.rollbacks += 1
        self.guard.reset_streak()
        return snapshot.step

    def _intact_checkpoints(self) -> list[Path]:
        """Returns the complete checkpoints, the last of them with the files that were written, oldest first."""
        for path in from_main(self.accelerator, lambda: set_damaged_aside(self.output.own_checkpoints())):
            self.report.say(f"warning: a checkpoint is damaged and passed over; it is now {path}")
        return self.output.own_checkpoints()

    def _restore_counts(self, snapshot: Snapshot) -> None:
        facts = snapshot.facts
        self.step = self.timed_step = self.saved_step = snapshot.step
        self.rollbacks, self.logged_step = int(facts["rollbacks"]), int(facts["looked"])
        self.guard.load_state(facts["guard"])
        if int(facts["metrics_bytes"]) < 0:
            raise ValueError("metrics_bytes is negative")
        if self.is_main:  # the saved window is the sum over processes, so one of them takes it
            self.metrics.load_state(facts["window"], self.accelerator.device)

    def _restore_weights(self, snapshot: Snapshot) -> None:
        wrapped, self.policy.module = self.policy.module, self.module
        self.policy.load_state(snapshot.tensors["policy"])
        self.policy.module = wrapped
        restore(
            self._bare_optimizer, self.trainable, snapshot.tensors.get("optimizer", {}), snapshot.facts["optimizer"]
        )
        self.gradient_computer.bco_shift.load_state(snapshot.facts["shift"])
        if self.gradient_computer.fast_slow is not None:
            self.gradient_computer.fast_slow.load_state(snapshot.facts["chase"])
        if self.ema is not None:
            self.ema.load_state(snapshot.tensors["ema"], snapshot.facts["ema_updates"])
        if snapshot.facts["scaler"] is not None and self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(snapshot.facts["scaler"])

    @property
    def _bare_optimizer(self) -> Any:
        return self.optimizer.optimizer  # accelerate's wrapper holds the real one

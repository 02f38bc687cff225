"""Rounds: what is renewed every so many steps, as a stage between two steps.

    sample      a pair source makes the pairs of its next round (`pairs: checkpoint`)
    invert      a policy whose weights change inverts its latents again (`latents.refresh`)
    snapshot    the present policy becomes the one that losses of its past read (`train.previous_every`)

A stage works with one set of weights from its beginning to its end, so it can use large batches and nothing is swapped
at each step. There is a checkpoint at its border, and the results of a stage are stored piece by piece: a run that is
killed within a stage, or within the steps after it, continues exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn
from torch.optim import Optimizer

from diffalign.devices.out_of_memory import explain_out_of_memory
from diffalign.devices.processes import Processes
from diffalign.devices.residency import StageName
from diffalign.errors import ConfigError
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.pairs.source import PairSource, RoundContext
from diffalign.policies.policy import LatentPolicy, Policy
from diffalign.policies.stages import enter_stage
from diffalign.training.optim.optimizer_state import flatten, restore
from diffalign.training.report.progress import ProgressReport
from diffalign.training.step.batch_order import BatchOrder, Visit
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.storage.run_folder import RunFolder


def lengths(source: PairSource, policy: Policy) -> dict[str, int]:
    """Returns the steps between two beginnings of each stage; 0: there is none."""
    window = policy.latents_refresh_every if isinstance(policy, LatentPolicy) else 0
    return {"sample": source.every, "invert": window}


def check_lengths(source: PairSource, policy: Policy) -> None:
    """Raises ConfigError where pairs would change within a window of latents."""
    every, window = lengths(source, policy).values()
    if every and window and every % window:
        raise ConfigError(
            f"latents.refresh is {window} steps, but pairs change every {every} steps, within such a window. "
            f"Type: --set latents.refresh={every}"
        )


@dataclass
class Rounds:
    """The stages of a run.

    Args:
        source: The source of the pairs.
        policy: The policy that is trained.
        gradient_computer: Receives the pairs of each round.
        order: Which visits a round will make.
        output: The run's folder; stages write into ``rounds``.
        report: Shows the progress of a stage.
        accelerator: Processes and precision.
        steps: Steps of the whole run.
        seed: The run's seed.
        optimizer: The optimizer, without accelerate's wrapper, for rules that put its state back.
        trainable: The parameters that it steps, by name.
        previous_every: Steps between two snapshots of the policy; 0: no loss reads the policy as it was.
    """

    source: PairSource
    policy: Policy
    gradient_computer: GradientComputer
    order: BatchOrder
    output: RunFolder
    report: ProgressReport
    accelerator: Any
    steps: int
    seed: int
    optimizer: Optimizer
    trainable: Mapping[str, nn.Parameter]
    previous_every: int = 0
    begun: dict[str, int] = field(default_factory=dict)

    def enter(self, step: int, checkpoint: Callable[[], None]) -> None:
        """Before step ``step``: begins the stages that are due, after a ``checkpoint``; after a resume, those that had
        begun already.
        """
        stages: tuple[tuple[str, int, Callable[[int, list[Visit], bool], None], StageName], ...] = (
            ("sample", self.source.every, self._sample, "sample"),
            ("invert", lengths(self.source, self.policy)["invert"], self._invert, "reference"),
            ("snapshot", self.previous_every, self._snapshot, "update"),
        )
        for stage, every, begin, held in stages:
            if not every or self.begun.get(stage) == step // every:
                continue
            if step and step % every == 0:
                checkpoint()
            number = step // every
            visits = self.order.between(number * every, min((number + 1) * every, self.steps))
            # In the precision of training: a stage is long, and its weights stay, so they are cast once.
            enter_stage(self.policy, held)
            with explain_out_of_memory(*self._memory_advice(stage)), self.accelerator.autocast():
                begin(number, visits, step % every == 0)
            enter_stage(self.policy, "update")
            self.begun[stage] = number

    def _memory_advice(self, stage: str) -> tuple[str, str]:
        """Returns what a stage does, and what to type where memory does not suffice for it."""
        if stage == "sample":
            half = max(1, getattr(self.source, "batch", 1) // 2)
            return "candidates are sampled", f"Type: --resume --set pairs.batch={half}"
        return "latents are inverted or weights copied", f"Type: --resume --set train.micro_batch_size={self._half}"

    @property
    def _half(self) -> int:
        return max(1, self.gradient_computer.micro_batch_size // 2)

    def _sample(self, number: int, visits: list[Visit], at_border: bool) -> None:
        context = RoundContext(
            policy=self.policy,
            folder=self.output.rounds,
            seed=self.seed,
            progress=self.report.preparing,
            processes=Processes(self.accelerator.process_index, self.accelerator.num_processes, self.accelerator),
            device=str(self.accelerator.device),
            at_border=at_border,
            say=self.report.say,
            optimizer_state=partial(flatten, self.optimizer, self.trainable),
            restore_optimizer=partial(restore, self.optimizer, self.trainable),
        )
        self.gradient_computer.pairs = self.source.begin_round(number, sorted({index for index, _ in visits}), context)

    def _invert(self, number: int, visits: list[Visit], at_border: bool) -> None:
        assert isinstance(self.policy, LatentPolicy)  # no other policy has this stage
        with self.accelerator.main_process_first():
            self.policy.refresh_latents(
                self.gradient_computer.pairs,
                visits,
                self.seed,
                self.output.rounds / "latents",
                number,
                batch=self.gradient_computer.micro_batch_size,
                progress=self.report.preparing,
            )

    def _snapshot(self, number: int, visits: list[Visit], at_border: bool) -> None:
        """Keeps the policy as it is at the border; after a resume, as it was there."""
        pool = CheckpointPool(self.output.rounds / "previous")
        with self.accelerator.main_process_first():
            if number not in pool.indices():
                pool.add(number, self.policy.state())
        self.policy.set_previous(pool.load(number))

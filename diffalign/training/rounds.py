"""Rounds: what is made anew every so many steps, as a stage of its own, before training goes on.

    sample     a pair source brings the pairs of its next round (`pairs: checkpoint`)
    invert     a policy that moves finds its latents anew (`latents.refresh`)
    look_back  the policy as it is becomes the one that losses of its past read (`train.previous_every`)

A stage works with one set of weights from its beginning to its end, so it can use large batches and nothing is swapped
at each step. A checkpoint stands at the border, and what a stage makes is stored piece by piece: a run that is killed
in the middle of a stage, or of the steps after it, goes on exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from diffalign.errors import ConfigError
from diffalign.pairs.checkpoint_pool import CheckpointPool
from diffalign.pairs.source import PairSource, Stage
from diffalign.policies.policy import LatentPolicy, Policy
from diffalign.training.report.progress import ProgressReport
from diffalign.training.step.batch_order import BatchOrder, Visit
from diffalign.training.step.gradients import GradientComputer
from diffalign.training.storage.run_folder import RunFolder


def lengths(source: PairSource, policy: Policy) -> dict[str, int]:
    """Steps between two beginnings of each stage; 0: there is none."""
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
        source: Where pairs come from.
        policy: What is trained.
        gradient_computer: Gets the pairs of each round.
        order: Says which visits a round will make.
        output: The run's folder; stages write into ``rounds``.
        report: Told how far they are.
        accelerator: Processes and precision.
        steps: Of the whole run.
        seed: The run's.
        back: Steps between two looks back; 0: no loss reads the policy as it was.
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
    back: int = 0
    begun: dict[str, int] = field(default_factory=dict)

    def enter(self, step: int, checkpoint: Callable[[], None]) -> None:
        """Before step ``step``: begins what is due, after a ``checkpoint``; after a resume, what had begun already."""
        stages = (("sample", self._sample), ("invert", self._invert), ("look_back", self._look_back))
        for stage, begin in stages:
            every = self._every[stage]
            if not every or self.begun.get(stage) == step // every:
                continue
            if step and step % every == 0:
                checkpoint()
            number = step // every
            visits = self.order.between(number * every, min((number + 1) * every, self.steps))
            # In the precision of training: a stage is long, and its weights stay, so they are cast once.
            with self.accelerator.autocast():
                begin(number, visits)
            self.begun[stage] = number

    @property
    def _every(self) -> dict[str, int]:
        return {**lengths(self.source, self.policy), "look_back": self.back}

    def _sample(self, number: int, visits: list[Visit]) -> None:
        stage = Stage(
            policy=self.policy,
            folder=self.output.rounds,
            seed=self.seed,
            progress=self.report.preparing,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            wait=self.accelerator.wait_for_everyone,
        )
        self.gradient_computer.pairs = self.source.begin(number, sorted({index for index, _ in visits}), stage)

    def _invert(self, number: int, visits: list[Visit]) -> None:
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

    def _look_back(self, number: int, visits: list[Visit]) -> None:
        """Holds the policy as it stands at the border; after a resume, as it stood there."""
        pool, policy = CheckpointPool(self.output.rounds / "previous"), self.policy
        with self.accelerator.main_process_first():
            if number not in pool.indices():
                pool.add(number, policy.state())
        policy.set_previous(pool.load(number))

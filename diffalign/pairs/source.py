"""The interface of pair sources: a source provides the comparisons of a run, round by round, of any medium."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from diffalign.data.records.pair import Pair
from diffalign.devices.processes import ALONE, Processes
from diffalign.policies.policy import Policy, Progress

OptimizerState = tuple[dict[str, Tensor], dict[str, Any]]


@dataclass(frozen=True)
class RoundContext:
    """What a source needs from the run at the beginning of a round.

    Args:
        policy: The policy with its current weights.
        folder: The run's folder for what rounds make; the same for all processes, and after a resume.
        seed: The run's seed.
        progress: Called in the course of long computations.
        processes: The processes of the run; all begin a round together.
        device: Where models that judge are put.
        at_border: Whether the policy has the weights of the round's beginning; False after a resume in its middle.
        say: Prints a line.
        optimizer_state: Returns the optimizer's state as tensors by name, and plain values.
        restore_optimizer: Puts such a state back.
    """

    policy: Policy
    folder: Path
    seed: int
    progress: Progress
    processes: Processes = ALONE
    device: str = "cpu"
    at_border: bool = True
    say: Callable[[str], None] = lambda line: None
    optimizer_state: Callable[[], OptimizerState] = lambda: ({}, {})
    restore_optimizer: Callable[[Mapping[str, Tensor], Mapping[str, Any]], None] = lambda tensors, facts: None


class PairSource(Protocol):
    """Comparisons for a run, which is cut into rounds of ``every`` optimizer steps."""

    @property
    def every(self) -> int:
        """Optimizer steps per round; 0: the pairs are fixed for the whole run."""

    @property
    def together(self) -> int:
        """How many consecutive pairs are of one prompt, so that batches take them one after the other; 1: each pair is
        by itself. It divides the number of pairs.
        """

    @property
    def pairs(self) -> Sequence[Pair]:
        """The pairs as far as they are known before training. Ids are unique. A pair whose rejected candidate is
        sampled later has none yet, or the place of one.
        """

    def __len__(self) -> int:
        """Number of pairs."""

    def summary(self) -> str:
        """Returns one line for the header: how many pairs, from where, what was dropped and why."""

    def begin_round(self, number: int, needed: Sequence[int], context: RoundContext) -> Sequence[Pair]:
        """Returns the pairs of round ``number``: as many as ``pairs``, with the same ids.

        Every process calls it before the round's first step, and again after a resume in the middle of the round. The
        policy has then changed, but the pairs must be those of the first call. Whatever is made is stored in
        ``context.folder``, so an interrupted call resumes.

        Args:
            number: The round, from 0.
            needed: Indices of the pairs that the round trains on, each once, sorted. Others may be incomplete.
            context: Policy, folder, seed and processes.
        """


@runtime_checkable
class ChecksRun(Protocol):
    """A source that does not serve every run."""

    def check_run(self, medium: str, steps: int, guard: str) -> None:
        """Raises ConfigError where it cannot serve a run.

        Args:
            medium: What the model makes.
            steps: Optimizer steps of the run.
            guard: What the run does about spikes.
        """


class FixedPairs:
    """Base of sources whose pairs are the same for the whole run; a subclass has ``pairs`` and ``summary``."""

    pairs: Sequence[Pair]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def every(self) -> int:
        """0: one round is the whole run."""
        return 0

    @property
    def together(self) -> int:
        """1: each pair is by itself."""
        return 1

    def begin_round(self, number: int, needed: Sequence[int], context: RoundContext) -> Sequence[Pair]:
        """Returns the pairs unchanged."""
        return self.pairs

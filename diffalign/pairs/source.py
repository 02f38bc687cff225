"""The seam of this room: a pair source brings comparisons, round by round. It never asks what a candidate is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diffalign.data.records.pair import Pair
from diffalign.policies.policy import Policy, Progress


@dataclass(frozen=True)
class Stage:
    """Where a round begins.

    Args:
        policy: What is trained, as it stands now.
        folder: The run's own folder for what rounds make; the same for all processes, and again after a resume.
        seed: The run's seed.
        progress: Told while something long goes on.
        rank: This process, from 0.
        processes: How many there are.
        wait: Returns when every process has called it.
    """

    policy: Policy
    folder: Path
    seed: int
    progress: Progress
    rank: int = 0
    processes: int = 1
    wait: Callable[[], None] = lambda: None


class PairSource(Protocol):
    """Comparisons for a run, which is cut into rounds of ``every`` optimizer steps."""

    @property
    def every(self) -> int:
        """Optimizer steps per round; 0: the pairs are fixed for the whole run."""

    @property
    def pairs(self) -> Sequence[Pair]:
        """What is known before training, in the order's indices; ids are unique. Winners alone have no rejected."""

    def __len__(self) -> int:
        """Number of pairs."""

    def summary(self) -> str:
        """One line for the header: how many, from where, what was dropped and why."""

    def begin(self, number: int, wanted: Sequence[int], stage: Stage) -> Sequence[Pair]:
        """The pairs of round ``number``: as many as ``pairs``, with the same ids.

        Called by every process before the round's first step, and again after a resume in its middle: then the policy
        has moved on, while the pairs must be those of the first call. Whatever is made is stored under
        ``stage.folder``, so that a killed call goes on where it was.

        Args:
            number: The round, from 0.
            wanted: Indices of the pairs that the round will meet, each once, sorted. Others need not be complete.
            stage: Policy, folder, seed and processes.
        """


class Fixed:
    """What every source says whose pairs are the same for the whole run; ``pairs`` and ``summary`` are its own."""

    pairs: Sequence[Pair]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def every(self) -> int:
        """0: one round is the whole run."""
        return 0

    def begin(self, number: int, wanted: Sequence[int], stage: Stage) -> Sequence[Pair]:
        """The pairs as they are."""
        return self.pairs

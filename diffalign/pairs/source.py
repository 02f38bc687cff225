"""The interface of pair sources: a source provides the comparisons of a run, round by round, of any medium."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from diffalign.data.records.pair import Pair
from diffalign.policies.policy import Policy, Progress


@dataclass(frozen=True)
class RoundContext:
    """What a source needs from the run at the beginning of a round.

    Args:
        policy: The policy with its current weights.
        folder: The run's folder for what rounds make; the same for all processes, and after a resume.
        seed: The run's seed.
        progress: Called in the course of long computations.
        rank: The number of this process, from 0.
        processes: Number of processes.
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
        """The pairs as far as they are known before training. Ids are unique. A pair whose rejected candidate is
        sampled later has none yet.
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


class FixedPairs:
    """Base of sources whose pairs are the same for the whole run; a subclass has ``pairs`` and ``summary``."""

    pairs: Sequence[Pair]

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def every(self) -> int:
        """0: one round is the whole run."""
        return 0

    def begin_round(self, number: int, needed: Sequence[int], context: RoundContext) -> Sequence[Pair]:
        """Returns the pairs unchanged."""
        return self.pairs

"""The order of batches: which pairs an optimizer step sees, as a function of the run's seed and the step's number.

Epoch e is one permutation of all pairs, drawn at the coordinate ``(seed, "order", e, "permutation")``. Batches cut the
endless sequence of epochs into pieces, so a batch may span two epochs and may be larger than the set; nothing is
dropped at the end of an epoch. The *visit* of a pair is the number of its epoch: together with its id it keys the
pair's draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from diffalign.randomness import stream

T = TypeVar("T")
Visit = tuple[int, int]
"""``(index of the pair, how often it has been seen before)``."""


@dataclass(frozen=True)
class BatchOrder:
    """The sequence of all visits.

    Args:
        size: Number of pairs, >= 1.
        batch_size: Pairs per optimizer step, over all processes.
        seed: The run's seed.
        together: How many consecutive pairs stay neighbours: epochs are permutations of such groups. It divides
            ``size``.
    """

    size: int
    batch_size: int
    seed: int
    together: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or self.batch_size < 1:
            raise ValueError(f"an order needs pairs and a batch; got {self.size} pairs, batch {self.batch_size}")
        if self.size % self.together:
            raise ValueError(f"{self.size} pairs are no groups of {self.together}")

    def batch(self, k: int) -> list[Visit]:
        """Returns the visits of batch ``k``, counted from 0."""
        visits = []
        for position in range(k * self.batch_size, (k + 1) * self.batch_size):
            epoch, slot = divmod(position, self.size)
            group, place = divmod(slot, self.together)
            order = _permutation(self.seed, epoch, self.size // self.together)
            visits.append((int(order[group]) * self.together + place, epoch))
        return visits

    def plan(self, batches: int) -> list[Visit]:
        """Returns all visits of the first ``batches`` batches, in order."""
        return self.between(0, batches)

    def between(self, first: int, last: int) -> list[Visit]:
        """Returns all visits of the batches ``first`` to ``last - 1``, in order."""
        return [visit for k in range(first, last) for visit in self.batch(k)]

    def epochs(self, batches: int) -> float:
        """Returns how many epochs the first ``batches`` batches are."""
        return batches * self.batch_size / self.size


def process_share(batch: Sequence[T], rank: int, processes: int) -> Sequence[T]:
    """Returns the contiguous part of a batch that one process computes; parts differ by at most one pair."""
    return batch[len(batch) * rank // processes : len(batch) * (rank + 1) // processes]


def micro_batches(batch: Sequence[T], size: int) -> list[Sequence[T]]:
    """Returns a batch cut into micro-batches of at most ``size``."""
    return [batch[start : start + size] for start in range(0, len(batch), size)]


def micro_batches_by_tokens(batch: Sequence[T], counts: Sequence[int], most: int) -> list[Sequence[T]]:
    """Returns a batch cut into micro-batches of at most ``most`` tokens; an example with more is one by itself.

    Args:
        batch: The examples.
        counts: Tokens of each.
        most: Tokens in memory at once.
    """
    pieces: list[Sequence[T]] = []
    start, tokens = 0, 0
    for at, count in enumerate(counts):
        if at > start and tokens + count > most:
            pieces.append(batch[start:at])
            start, tokens = at, 0
        tokens += count
    return [*pieces, batch[start:]] if len(batch) else []


@lru_cache(maxsize=4)  # a batch touches one epoch, or two at a border
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    return stream(seed, "order", epoch, "permutation").permutation(size)


def draws_of_visits(visits: Sequence[int], draws: int) -> list[tuple[int, ...]]:
    """Returns the visits that key the draws of pairs, where each pair has several draws.

    These are ``draws`` rows, and no other visit has the same numbers. With one draw they are the visits themselves.
    """
    return [tuple(_visit_of_draw(visit, draw, draws) for visit in visits) for draw in range(draws)]


def _visit_of_draw(visit: int, draw: int, draws: int) -> int:
    # The draws of held-out pairs count downwards from -1.
    return visit * draws + draw if visit >= 0 else -1 - ((-1 - visit) * draws + draw)

"""Draws: every random number of training as a function of ``(run seed, example id, visit, purpose)``.

There is no global state and no running generator. An example that is seen for the n-th time gets the same noise on one
process or two, in any micro-batch, before and after a resume. The counter-based generator is Philox (Salmon et al.
2011); its 128-bit key is a BLAKE2b digest of the four coordinates, so streams of different purposes never overlap.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Randomness of one batch, identified by each row's example and by how often it has been seen.

    Args:
        seed: The run's seed.
        ids: Example ids, one per row of the batch.
        visits: How often each example has been seen before, same length.
    """

    seed: int
    ids: tuple[str, ...]
    visits: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.visits):
            raise ValueError(f"a draw needs one visit per id; got {len(self.ids)} ids and {len(self.visits)} visits")

    def __len__(self) -> int:
        return len(self.ids)

    def normal(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Returns ``(B, *shape)`` standard normal numbers, float32 on the CPU: the same on every device."""
        rows = [generator.standard_normal(tuple(shape), dtype=np.float32) for generator in self._generators(purpose)]
        return torch.from_numpy(np.stack(rows))

    def uniform(self, purpose: str) -> Tensor:
        """Returns ``(B,)`` numbers in [0, 1), float64."""
        return torch.tensor([generator.random() for generator in self._generators(purpose)], dtype=torch.float64)

    def integers(self, purpose: str, low: int, high: int) -> Tensor:
        """Returns ``(B,)`` integers in [low, high), each equally likely."""
        rows = [int(generator.integers(low, high)) for generator in self._generators(purpose)]
        return torch.tensor(rows, dtype=torch.long)

    def happens(self, purpose: str, probability: float) -> Tensor:
        """Returns ``(B,)`` booleans, true with the given probability."""
        return self.uniform(purpose) < probability

    def _generators(self, purpose: str) -> list[np.random.Generator]:
        return [stream(self.seed, key, visit, purpose) for key, visit in zip(self.ids, self.visits, strict=True)]


def stream(seed: int, key: str, visit: int, purpose: str) -> np.random.Generator:
    """Returns the generator at one coordinate. Equal coordinates give equal streams, on any machine, in any order."""
    text = f"{seed}\x1f{key}\x1f{visit}\x1f{purpose}".encode()
    digest = hashlib.blake2b(text, digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))

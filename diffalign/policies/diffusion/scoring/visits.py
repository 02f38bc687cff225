"""Visits: the draw that a pair gets at its n-th visit, and the key under which a result of that visit is stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from diffalign.data.records.pair import Pair
from diffalign.data.storage.tensor_cache import content_key
from diffalign.policies.diffusion.scoring.denoiser_scoring import EncodedCandidates
from diffalign.policies.diffusion.scoring.stored_results import StoredErrors, StoredLatents
from diffalign.policies.module_utils import mixed_precision
from diffalign.policies.policy import Plan
from diffalign.randomness import Draw


class Visits:
    """Draws and keys of visits.

    Args:
        draws: Number of different draws per pair; None: a new one at each visit.
        pair_key: Identity of everything that a pair's tensors are made from.
        device: Where the network computes; its autocast is part of a key.
    """

    def __init__(self, draws: int | None, pair_key: Callable[[Pair], str], device: torch.device) -> None:
        self._draws = draws
        self._pair_key = pair_key
        self._device = device

    def cycle(self, draw: Draw) -> Draw:
        """Returns the draw with its visits cycled through ``draws``."""
        return Draw(draw.seed, draw.ids, tuple(self._cycled(visit) for visit in draw.visits))

    def keys(self, encoded: EncodedCandidates, draw: Draw) -> list[str]:
        """Returns the key of each example of a batch at the visits of ``draw``."""
        return [self._key(draw.seed, visit, key) for key, visit in zip(encoded.keys, draw.visits, strict=True)]

    def missing(
        self, store: StoredErrors | StoredLatents | None, pairs: Sequence[Pair], plan: Plan, seed: int
    ) -> dict[str, tuple[int, int]]:
        """Returns ``{key: (index, visit)}`` of planned visits that a store lacks; none where nothing is stored."""
        if store is None:
            return {}
        visits = [(index, self._cycled(visit)) for index, visit in plan]
        keys = {self._key(seed, visit, self._pair_key(pairs[index])): (index, visit) for index, visit in visits}
        return {key: keys[key] for key in store.missing(list(keys))}

    @staticmethod
    def batch(
        part: Sequence[tuple[str, tuple[int, int]]], pairs: Sequence[Pair], seed: int
    ) -> tuple[list[str], list[Pair], Draw]:
        """Returns keys, pairs and draw of some of the missing visits, ``(key, (index, visit))``."""
        batch = [pairs[index] for _, (index, _) in part]
        draw = Draw(seed, tuple(pair.id for pair in batch), tuple(visit for _, (_, visit) in part))
        return [key for key, _ in part], batch, draw

    def _cycled(self, visit: int) -> int:
        """Visits of held-out pairs (below 0) are not cycled."""
        return visit if self._draws is None or visit < 0 else visit % self._draws

    def _key(self, seed: int, visit: int, pair_key: str) -> str:
        return content_key(seed, visit, pair_key, str(mixed_precision(self._device)))

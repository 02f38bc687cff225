"""What is computed once and kept by pair and visit: a reference's errors, and latents that an inversion found.

Both are exact and no approximation: draws are a function of (seed, pair, visit), so noise, level and prompt that a pair
will meet at its n-th visit are known beforehand.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import torch
from torch import Tensor

from diffalign.data.storage.tensor_cache import TensorCache, Writer, content_key
from diffalign.devices.budget import format_bytes
from diffalign.errors import RunError


def draw_key(seed: int, visit: int, pair_key: str, numerics: str) -> str:
    """Name of one stored result: the draw's coordinates and what the pair was encoded from."""
    return content_key(seed, visit, pair_key, numerics)


class StoredErrors:
    """Surrogate errors of the reference, in memory while training and on disk between runs.

    Args:
        cache: Where they are kept.
    """

    def __init__(self, cache: TensorCache) -> None:
        self.cache = cache
        self._known: dict[str, tuple[float, ...]] = {}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Keys that have still to be computed; the others are read into memory."""
        absent = set(self.cache.missing(keys))
        for key in keys:
            if key not in absent and key not in self._known and (entry := self.cache.get(key)) is not None:
                self._known[key] = tuple(entry["errors"].tolist())
        return [key for key in keys if key not in self._known]

    def write(self, out: Writer, keys: Sequence[str], errors: Sequence[Tensor]) -> None:
        """Takes errors ``(B,)`` of each candidate into memory, and to disk."""
        for key, row in zip(keys, torch.stack(list(errors), dim=1).cpu(), strict=True):
            self._known[key] = tuple(row.tolist())
            out.put(key, {"errors": row})

    def get(self, keys: Sequence[str], device: torch.device) -> tuple[Tensor, ...] | None:
        """Errors ``(B,)``, one tensor per candidate, or None when one of them is not known."""
        if any(key not in self._known for key in keys):
            return None
        return torch.tensor([self._known[key] for key in keys], device=device).unbind(1)


class StoredLatents:
    """Noisy latents and their targets, on disk: two latents per candidate and visit.

    Args:
        cache: Where they are kept.
    """

    def __init__(self, cache: TensorCache) -> None:
        self.cache = cache
        self._roomy = False

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Keys that have still to be computed."""
        return self.cache.missing(keys)

    def check_room(self, visits: int, numbers: int) -> None:
        """Raises RunError where latents of so many visits do not fit on the disk: asked before the first is computed.

        Args:
            visits: How many are to be stored.
            numbers: Elements of all candidates' latents of one example.
        """
        if self._roomy:
            return
        needed, free = visits * numbers * 2 * 4, shutil.disk_usage(self.cache.root).free
        if needed > free:
            raise RunError(
                f"latents of {visits:,} visits take {format_bytes(needed)}, but the disk of '{self.cache.root}' has "
                f"{format_bytes(free)} free. Let visits return to fewer draws (--set model.draws=4), keep nothing "
                "(--set latents.store=false), or choose another disk (--set model.cache=FOLDER)."
            )
        self._roomy = True

    def write(self, out: Writer, keys: Sequence[str], x_t: Tensor, target: Tensor) -> None:
        """Puts latents ``(n B, ...)`` to disk, whose rows hold one candidate of all examples after the other."""
        rows = {name: value.unflatten(0, (-1, len(keys))).cpu() for name, value in (("x_t", x_t), ("target", target))}
        for i, key in enumerate(keys):
            out.put(key, {name: value[:, i].contiguous() for name, value in rows.items()})

    def get(self, keys: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor] | None:
        """``(x_t, target)``, each ``(n B, ...)``, or None when one of the keys is absent."""
        entries = []
        for key in keys:
            entry = self.cache.get(key)
            if entry is None:
                return None
            entries.append(entry)
        x_t, target = (torch.stack([e[name] for e in entries], dim=1).flatten(0, 1) for name in ("x_t", "target"))
        return x_t.to(device), target.to(device)

"""Results that are computed once and kept by pair and visit: a reference's errors, and latents of an inversion.

Both are exact and no approximation: draws are a function of (seed, pair, visit), so noise, level and prompt of a pair's
n-th visit are known in advance.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import torch
from torch import Tensor

from diffalign.data.storage.tensor_cache import TensorCache, Writer
from diffalign.devices.device_memory import format_bytes
from diffalign.errors import RunError


class StoredErrors:
    """Surrogate errors of the reference, in memory while training and on disk between runs.

    Args:
        cache: Where they are kept.
    """

    def __init__(self, cache: TensorCache) -> None:
        self.cache = cache
        self._errors: dict[str, tuple[float, ...]] = {}

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Returns the keys that are not computed yet; the others are read into memory."""
        absent = set(self.cache.missing(keys))
        for key in keys:
            if key not in absent and key not in self._errors and (entry := self.cache.get(key)) is not None:
                self._errors[key] = tuple(entry["errors"].tolist())
        return [key for key in keys if key not in self._errors]

    def write(self, out: Writer, keys: Sequence[str], errors: Sequence[Tensor]) -> None:
        """Writes errors ``(B,)`` of each candidate to memory and to disk."""
        for key, row in zip(keys, torch.stack(list(errors), dim=1).cpu(), strict=True):
            self._errors[key] = tuple(row.tolist())
            out.put(key, {"errors": row})

    def get(self, keys: Sequence[str], device: torch.device) -> tuple[Tensor, ...] | None:
        """Returns errors ``(B,)``, one tensor per candidate, or None when one of the keys is absent."""
        if any(key not in self._errors for key in keys):
            return None
        return torch.tensor([self._errors[key] for key in keys], device=device).unbind(1)


class StoredLatents:
    """Noisy latents and their targets, on disk: two latents per candidate and visit.

    Args:
        cache: Where they are kept.
    """

    def __init__(self, cache: TensorCache) -> None:
        self.cache = cache
        self._enough_space = False

    def missing(self, keys: Sequence[str]) -> list[str]:
        """Returns the keys that are not computed yet."""
        return self.cache.missing(keys)

    def check_space(self, visits: int, elements: int) -> None:
        """Raises RunError where the disk has no space for the latents of all visits; call it before the first write.

        Args:
            visits: Number of visits to be stored.
            elements: Elements of all candidates' latents of one example.
        """
        if self._enough_space:
            return
        needed, free = visits * elements * 2 * 4, shutil.disk_usage(self.cache.root).free
        if needed > free:
            raise RunError(
                f"latents of {visits:,} visits take {format_bytes(needed)}, but the disk of '{self.cache.root}' has "
                f"{format_bytes(free)} free. Use fewer draws per pair (--set model.draws=4), store nothing (--set "
                "latents.store=false), or choose another disk (--set model.cache=FOLDER)."
            )
        self._enough_space = True

    def write(self, out: Writer, keys: Sequence[str], x_t: Tensor, target: Tensor) -> None:
        """Writes latents ``(n B, ...)`` to disk; their rows hold one candidate of all examples after the other."""
        rows = {name: value.unflatten(0, (-1, len(keys))).cpu() for name, value in (("x_t", x_t), ("target", target))}
        for i, key in enumerate(keys):
            out.put(key, {name: value[:, i].contiguous() for name, value in rows.items()})

    def get(self, keys: Sequence[str], device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Returns ``(x_t, target)``, each ``(n B, ...)``, or None when one of the keys is absent."""
        entries = []
        for key in keys:
            entry = self.cache.get(key)
            if entry is None:
                return None
            entries.append(entry)
        x_t, target = (torch.stack([e[name] for e in entries], dim=1).flatten(0, 1) for name in ("x_t", "target"))
        return x_t.to(device), target.to(device)

"""The latents of samples, kept beside them: piece by piece while they are drawn, in one file at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

from diffalign.data.storage.kept_latents import (
    LATENTS,
    KeptLatent,
    LatentSpace,
    latent_names,
    latent_space,
    write_latents,
)
from diffalign.data.storage.tensor_cache import TensorCache, content_key, remove_caches
from diffalign.errors import DataError

UNFINISHED = ".latents"
"""The folder of latents of an interrupted drawing."""


class LatentsBeside:
    """The latents of a folder's samples. An interrupted drawing goes on from what is there.

    Args:
        folder: The samples' folder.
        space: The model's autoencoder and scale.
    """

    def __init__(self, folder: Path, space: LatentSpace) -> None:
        self.file = folder / LATENTS
        self._folder, self._space = folder, space
        self._cache = TensorCache(folder / UNFINISHED, f"latents of {space.autoencoder} {space.scale}")
        self._written: Collection[str] = latent_names(self.file) if self._is_ours() else ()

    def __contains__(self, name: str) -> bool:
        return name in self._written or content_key(name) in self._cache

    def add(self, latents: Mapping[str, Tensor]) -> None:
        """Keeps scaled latents ``(C, h, w)`` by the names of their samples; they are on disk when this returns."""
        self._cache.put_many({content_key(name): {"latent": latent} for name, latent in latents.items()})

    def finish(self, names: Collection[str]) -> Path:
        """Writes the latents of these samples, all of which are there, into one file."""
        if any(name not in self._written for name in names):
            write_latents(self.file, {name: self._get(name) for name in names}, self._space)
        remove_caches(self._folder / UNFINISHED)
        return self.file

    def _get(self, name: str) -> Tensor:
        entry = self._cache.get(content_key(name))
        return KeptLatent(str(self.file), name, self._folder / name).read() if entry is None else entry["latent"]

    def _is_ours(self) -> bool:
        try:
            return latent_space(self.file) == self._space
        except DataError:  # none so far, or another program's
            return False

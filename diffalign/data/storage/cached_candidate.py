"""Kept: a candidate that is already tensors, in a cache on disk. It was made while training and never was a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffalign.errors import DataError

# A handle is three words; torch is imported when one is read, so that records and the check of a data set need none.
if TYPE_CHECKING:
    from torch import Tensor

    from diffalign.data.storage.tensor_cache import TensorCache

OPEN_CACHES = 4


@dataclass(frozen=True, slots=True)
class CachedCandidate:
    """An entry of ``TensorCache(folder, maker)``. What its tensors mean is known to the policy that made them.

    Args:
        folder: The cache's folder.
        maker: What computed the tensors.
        key: The entry's key.
    """

    folder: str
    maker: str
    key: str

    def read(self) -> dict[str, Tensor]:
        """The tensors, on the CPU, as views of the mapped file: clone before writing into them.

        Raises:
            DataError: The entry is gone or damaged.
        """
        if Path(self.folder).is_dir():  # else asking the cache would make the folder
            cache = _cache(self.folder, self.maker)
            for _ in range(2):  # what was damaged may have been made again, in a shard that is not known yet
                tensors = cache.get(self.key)
                if tensors is not None:
                    return tensors
                cache.refresh()
        raise DataError(
            f"{self} is gone or damaged: it was made while training and should lie in '{self.folder}'. "
            "Resume the run (--resume): what is missing is made again."
        )

    def digest(self) -> str:
        """32 hexadecimal digits of the name alone: equal names are equal tensors, since nothing stored is rewritten."""
        from diffalign.data.storage.tensor_cache import content_key

        return content_key(self.folder, self.maker, self.key)

    def __str__(self) -> str:
        return f"sample {self.key[:8]} in '{self.folder}'"


@lru_cache(maxsize=OPEN_CACHES)
def _cache(folder: str, maker: str) -> TensorCache:
    from diffalign.data.storage.tensor_cache import TensorCache

    return TensorCache(folder, maker)

"""Handles of candidates that are tensors in a cache on disk: samples made while training, which were never files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from diffalign.errors import DataError

# A handle is three strings. torch is imported when a handle is read: records and the check of a data set need no torch.
if TYPE_CHECKING:
    from torch import Tensor

    from diffalign.data.storage.tensor_cache import TensorCache

OPEN_CACHES = 4


@dataclass(frozen=True, slots=True)
class CachedCandidate:
    """An entry of ``TensorCache(folder, maker)``. Only the policy that made its tensors can interpret them.

    Args:
        folder: The cache's folder.
        maker: What computed the tensors.
        key: The entry's key.
    """

    folder: str
    maker: str
    key: str

    def read(self) -> dict[str, Tensor]:
        """Returns the tensors, on the CPU, as views of the mapped file: clone before writing into them.

        Raises:
            DataError: The entry is gone or damaged.
        """
        if Path(self.folder).is_dir():  # opening a cache would create the folder
            cache = _open_cache(self.folder, self.maker)
            for _ in range(2):  # another process may have stored a damaged entry again, in a shard not listed yet
                tensors = cache.get(self.key)
                if tensors is not None:
                    return tensors
                cache.refresh()
        raise DataError(
            f"{self} is gone or damaged: it was made while training and should lie in '{self.folder}'. "
            "Resume the run (--resume): it makes missing samples again."
        )

    def digest(self) -> str:
        """Returns 32 hexadecimal digits of the name only: entries are never rewritten, so it determines the tensors."""
        from diffalign.data.storage.tensor_cache import content_key

        return content_key(self.folder, self.maker, self.key)

    def __str__(self) -> str:
        return f"sample {self.key[:8]} in '{self.folder}'"


@lru_cache(maxsize=OPEN_CACHES)
def _open_cache(folder: str, maker: str) -> TensorCache:
    from diffalign.data.storage.tensor_cache import TensorCache

    return TensorCache(folder, maker)

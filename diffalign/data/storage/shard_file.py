"""Shards: one safetensors file, written so that it is complete or absent, and its header read without its data."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from diffalign.errors import RunError

PART = ".part"
SPARE = 2**20
_FULL = ("no space left", "os error 28", "quota exceeded", "os error 122")


class ShardError(Exception):
    """A shard that is truncated or otherwise not what was written."""


def write_shard(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes contiguous CPU tensors beside ``path``, flushes them to the disk, and renames.

    Raises:
        RunError: The disk is full, or the folder cannot be written. Nothing is left behind.
    """
    import safetensors
    from safetensors.torch import save_file

    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) + SPARE
    part = path.with_name(path.name + PART)
    try:
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(dict(tensors), str(part), metadata=dict(metadata))
        _to_disk(part)
        os.replace(part, path)
        _to_disk(path.parent)
    except (OSError, safetensors.SafetensorError) as error:
        raise _explained(path, size, error) from error
    finally:
        part.unlink(missing_ok=True)


def read_names(path: Path) -> list[str]:
    """The tensors' names, from the header; the file's length must be the one that the header implies.

    Raises:
        ShardError: The header is damaged or the file is truncated.
    """
    length = path.stat().st_size
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if length < 8 or size > length - 8:
            raise ShardError("its header is truncated")
        try:
            header = json.loads(file.read(size))
            names = [name for name in header if name != "__metadata__"]
            end = max((header[name]["data_offsets"][1] for name in names), default=0)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
            raise ShardError("its header is damaged") from error
    if length != 8 + size + end:
        raise ShardError(f"it has {length:,} bytes and should have {8 + size + end:,}")
    return names


def _explained(path: Path, size: int, error: Exception) -> RunError:
    folder = path.parent
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or any(s in str(error).lower() for s in _FULL)
    if full:
        return RunError(
            f"the disk of the cache folder '{folder}' is full: {size / 2**20:.0f} MiB were needed. What was cached "
            "before is kept. Free some space, or choose a cache folder on another disk, and start again: the run goes "
            "on from there."
        )
    return RunError(
        f"the cache folder '{folder}' cannot be written: {error}. Choose another one, or do without a cache."
    )


def _to_disk(path: Path) -> None:
    """Waits until the system has written a file (or a folder's entries), so that a power cut cannot lose it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # some systems cannot open a folder
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
    finally:
        os.close(handle)

"""Writes a shard, one safetensors file, so that it is complete or absent, and reads its header without its data."""

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
"""Free bytes that must remain on the disk after a shard is written."""

_DISK_FULL = ("no space left", "os error 28", "quota exceeded", "os error 122")


class ShardError(Exception):
    """A shard is truncated, or its content differs from what was written."""


def write_shard(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes contiguous CPU tensors to a temporary file next to ``path``, flushes it to the disk, and renames it.

    Raises:
        RunError: The disk is full, or the folder cannot be written. No partial file remains.
    """
    import safetensors
    from safetensors.torch import save_file

    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) + SPARE
    part = path.with_name(path.name + PART)
    try:
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save_file(dict(tensors), str(part), metadata=dict(metadata))
        _sync(part)
        os.replace(part, path)
        _sync(path.parent)
    except (OSError, safetensors.SafetensorError) as error:
        raise _write_error(path, size, error) from error
    finally:
        part.unlink(missing_ok=True)


def read_names(path: Path) -> list[str]:
    """Returns the tensors' names from the header, after a check that the file has the length that the header implies.

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


def _write_error(path: Path, size: int, error: Exception) -> RunError:
    folder = path.parent
    by_number = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if by_number or any(phrase in str(error).lower() for phrase in _DISK_FULL):
        return RunError(
            f"the disk of the cache folder '{folder}' is full: {size / 2**20:.0f} MiB were needed. Earlier entries of "
            "the cache are kept. Free some space, or choose a cache folder on another disk, and start again: the run "
            "continues from there."
        )
    return RunError(
        f"the cache folder '{folder}' cannot be written: {error}. Choose another one, or run without a cache."
    )


def _sync(path: Path) -> None:
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

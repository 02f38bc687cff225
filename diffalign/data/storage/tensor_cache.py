"""A cache on disk for tensors that a frozen encoder computed once, kept between runs.

An entry is identified by its content (the caller's key, see :func:`content_key`) and by its *maker*: everything that
determines the numbers, such as the policy's fingerprint. The maker selects the subfolder, so a changed model never
reads stale tensors. Entries lie in shards, ``*.safetensors``, which are written under a temporary name and renamed: a
shard is complete or absent. No shard is ever rewritten, and each writer uses names of its own, so that several
processes can write and read at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffalign.data.storage.shard_file import PART, ShardError, read_names, write_shard
from diffalign.errors import RunError

SHARD_BYTES = 64 * 2**20
OPEN_SHARDS = 32
SHARD = re.compile(r"[0-9a-f]+-\d+-[0-9a-f]{8}\.safetensors")
"""Names of shards. Files of other names are of others, and are left alone."""
MAKER_FILE, MAKER = "maker.txt", re.compile(r"[0-9a-f]{16}")
"""The file that describes a maker, and the names of makers' folders."""
ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a half-written file cannot belong to a running writer."""


def content_key(*parts: Any) -> str:
    """Hashes strings, bytes, numbers, booleans and None to 32 hexadecimal digits.

    The type and the length of each part count.
    """
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        state.update(f"{type(part).__name__}:{len(data)}:".encode() + data)
    return state.hexdigest()


class TensorCache:
    """Named tensors by key, on disk, memory-mapped.

    Args:
        folder: The folder of all caches; one subfolder per maker.
        maker: A description or fingerprint of what computed the tensors. Another maker is another cache.

    Raises:
        RunError: The folder cannot be created or written.
    """

    def __init__(self, folder: str | Path, maker: str) -> None:
        self.root, self.maker = Path(folder), maker
        self.folder = self.root / content_key(maker)[:16]
        self._entries: dict[str, tuple[str, tuple[str, ...]]] = {}  # key -> (shard, names of its tensors)
        self._listed_shards: set[str] = set()
        self._open_shards: OrderedDict[str, tuple[Any, Mapping[str, int]]] = OrderedDict()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            maker_file = self.folder / MAKER_FILE
            if not maker_file.exists():
                maker_file.write_text(maker + "\n", encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"the cache folder '{self.root}' cannot be used: {error.strerror}. "
                "Choose another one, or run without a cache."
            ) from error
        self._remove_abandoned()
        self.refresh()

    def __reduce__(self) -> Any:
        return type(self), (self.root, self.maker)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def keys(self) -> Iterator[str]:
        """Yields the keys that this process has listed."""
        return iter(self._entries)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Returns those of ``keys`` that no process has stored, each once, in the order given."""
        self.refresh()
        return [key for key in dict.fromkeys(keys) if key not in self._entries]

    def refresh(self) -> None:
        """Lists shards that other processes have finished since. A damaged shard is renamed."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if SHARD.fullmatch(path.name) and path.name not in self._listed_shards:
                self._list_shard(path)

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Returns the tensors of a key, on the CPU, as views of the mapped file; None when it is absent or damaged.

        Clone them before writing into them. A damaged entry is removed with a warning, so that :meth:`missing` reports
        it and it is computed again.
        """
        if key not in self._entries:
            return None
        shard, names = self._entries[key]
        try:
            file, sums = self._open_shard(shard)
            tensors = {}
            for name in names:
                full = f"{key}::{name}"
                tensors[name] = file.get_tensor(full)
                if checksum(tensors[name]) != sums.get(full):
                    raise ShardError(f"the checksum of '{full}' differs")
        except (ShardError, OSError) as error:
            self._remove_damaged(self.folder / shard, error)
            return None
        return tensors

    def put_many(self, entries: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Stores entries in one new shard. They are on disk when this returns; for small entries use :meth:`writer`.

        Raises:
            RunError: The disk is full, or the folder cannot be written.
        """
        if not entries:
            return
        tensors: dict[str, Tensor] = {}
        for key, named in entries.items():
            if not named:
                raise ValueError(f"an entry needs at least one tensor; '{key}' has none")
            for name, tensor in named.items():
                if not name or "::" in name:
                    raise ValueError(f"a tensor's name must be non-empty and hold no '::'; got {name!r}")
                # Clone: entries may be views of one buffer, which safetensors refuses to store.
                tensors[f"{key}::{name}"] = tensor.detach().to("cpu", copy=True).contiguous()
        sums = {name: checksum(tensor) for name, tensor in tensors.items()}
        shard = f"{time.time_ns():x}-{os.getpid()}-{secrets.token_hex(4)}.safetensors"
        write_shard(self.folder / shard, tensors, {"checksums": json.dumps(sums)})
        self._listed_shards.add(shard)
        for key, named in entries.items():
            self._entries[key] = shard, tuple(named)

    @contextmanager
    def writer(self, shard_bytes: int = SHARD_BYTES, seconds: float = 60.0) -> Iterator[Writer]:
        """Collects small entries into shards of about ``shard_bytes``, written after ``seconds`` at the latest.

        Collected entries are also written when an exception leaves the block, so that finished work is kept.
        """
        writer = Writer(self, shard_bytes, seconds)
        try:
            yield writer
        finally:
            writer.flush()

    def _list_shard(self, path: Path) -> None:
        try:
            names = read_names(path)
        except FileNotFoundError:  # another process renamed it
            return
        except (ShardError, OSError) as error:
            self._remove_damaged(path, error)
            return
        self._listed_shards.add(path.name)
        entries: dict[str, list[str]] = {}
        for full in names:
            key, separator, name = full.rpartition("::")
            if separator:  # a file without it is a foreign model in the folder
                entries.setdefault(key, []).append(name)
        for key, parts in entries.items():
            self._entries[key] = path.name, tuple(parts)

    def _open_shard(self, name: str) -> tuple[Any, Mapping[str, int]]:
        if name not in self._open_shards:
            import safetensors

            try:
                file = safetensors.safe_open(str(self.folder / name), framework="pt")  # type: ignore[no-untyped-call]
                sums = json.loads(file.metadata()["checksums"])
            except (safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
                raise ShardError(str(error)) from error
            self._open_shards[name] = file, sums
            while len(self._open_shards) > OPEN_SHARDS:
                self._open_shards.popitem(last=False)
        self._open_shards.move_to_end(name)
        return self._open_shards[name]

    def _remove_damaged(self, path: Path, error: Exception) -> None:
        lost_keys = [key for key, (shard, _) in self._entries.items() if shard == path.name]
        for key in lost_keys:
            del self._entries[key]
        self._open_shards.pop(path.name, None)
        try:
            path.replace(path.with_suffix(".damaged"))
        except OSError:
            self._listed_shards.add(path.name)  # it keeps its name and is not read again
        warnings.warn(
            f"the cache file '{path}' is damaged ({error}); it is ignored and its entries are computed again.",
            RuntimeWarning,
            stacklevel=3,
        )

    def _remove_abandoned(self) -> None:
        """Removes files that killed writers left, and damaged files, when they are more than a day old."""
        for path in [*self.folder.glob(f"*{PART}"), *self.folder.glob("*.damaged")]:
            try:
                if is_cache_file(path.name) and time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                    path.unlink()
            except OSError:
                continue


def is_cache_file(name: str) -> bool:
    """Returns whether a cache writes files of this name into a maker's folder: shards, unfinished or damaged ones."""
    stem = name.removesuffix(PART)
    stem = stem.removesuffix(".damaged") + ".safetensors" if stem.endswith(".damaged") else stem
    return name == MAKER_FILE or SHARD.fullmatch(stem) is not None


def remove_caches(folder: Path) -> None:
    """Removes the caches of all makers in a folder, and what is then empty. Files of others stay."""
    for maker in folder.iterdir():
        for path in maker.iterdir() if MAKER.fullmatch(maker.name) and maker.is_dir() else ():
            if is_cache_file(path.name):
                path.unlink(missing_ok=True)
    for empty in (*folder.iterdir(), folder):
        with suppress(OSError):
            empty.rmdir()


class Writer:
    """Collects entries for a :class:`TensorCache`; created by its :meth:`~TensorCache.writer`."""

    def __init__(self, cache: TensorCache, shard_bytes: int, seconds: float) -> None:
        self._cache, self._limit, self._seconds = cache, shard_bytes, seconds
        self._entries: dict[str, dict[str, Tensor]] = {}
        self._bytes, self._since = 0, time.monotonic()

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Adds an entry; writes a shard when enough has been collected."""
        self._entries[key] = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        self._bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if self._bytes >= self._limit or time.monotonic() - self._since >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Writes the collected entries."""
        entries, self._entries = self._entries, {}
        self._bytes, self._since = 0, time.monotonic()
        self._cache.put_many(entries)


def checksum(tensor: Tensor) -> int:
    """Returns the CRC-32 of a CPU tensor's bytes."""
    return zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]

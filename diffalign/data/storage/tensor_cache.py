"""The cache of tensors: what a frozen encoder computed once, kept on disk between runs.

An entry is keyed by its content (the caller's key, see :func:`content_key`) and by its *maker*: everything that decides
what the numbers are, such as the policy's fingerprint, which chooses the subfolder. A changed model therefore never
meets stale tensors. Entries lie in shards, ``*.safetensors``, that are written beside and renamed: a shard is complete
or absent. Nothing is ever rewritten in place, and each writer takes names of its own, so that several processes may
write and read at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffalign.data.storage.shard_file import PART, ShardError, read_names, write_shard
from diffalign.errors import RunError

SHARD_BYTES = 64 * 2**20
OPEN_SHARDS = 32
ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which a half-written file can belong to no living writer."""


def content_key(*parts: Any) -> str:
    """32 hexadecimal digits of strings, bytes, numbers, booleans and None: the type and length of each part count."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        state.update(f"{type(part).__name__}:{len(data)}:".encode() + data)
    return state.hexdigest()


class TensorCache:
    """Named tensors by key, on disk, memory-mapped.

    Args:
        folder: Where caches live; one subfolder per maker.
        maker: What computed the tensors, in words or as a fingerprint. Another maker is another cache.

    Raises:
        RunError: The folder cannot be made or written.
    """

    def __init__(self, folder: str | Path, maker: str) -> None:
        self.root, self.maker = Path(folder), maker
        self.folder = self.root / content_key(maker)[:16]
        self._where: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._known: set[str] = set()
        self._open: OrderedDict[str, tuple[Any, Mapping[str, int]]] = OrderedDict()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            note = self.folder / "maker.txt"
            if not note.exists():
                note.write_text(maker + "\n", encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"the cache folder '{self.root}' cannot be used: {error.strerror}. "
                "Choose another one, or do without a cache."
            ) from error
        self._sweep()
        self.refresh()

    def __reduce__(self) -> Any:
        return type(self), (self.root, self.maker)

    def __contains__(self, key: str) -> bool:
        return key in self._where

    def __len__(self) -> int:
        return len(self._where)

    def keys(self) -> Iterator[str]:
        """The keys that this process knows of."""
        return iter(self._where)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those of ``keys`` that are not stored by anybody, each once, in the order given."""
        self.refresh()
        return [key for key in dict.fromkeys(keys) if key not in self._where]

    def refresh(self) -> None:
        """Takes notice of shards that other processes finished meanwhile. A damaged shard is moved out of the way."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in self._known:
                self._learn(path)

    def get(self, key: str) -> dict[str, Tensor] | None:
        """The tensors of a key, on the CPU, as views of the mapped file; None when it is absent or damaged.

        Do not write into them: clone first. A damaged entry is forgotten with a warning, so that
        :meth:`missing` reports it and it is computed again.
        """
        if key not in self._where:
            return None
        shard, names = self._where[key]
        try:
            file, sums = self._shard(shard)
            tensors = {}
            for name in names:
                full = f"{key}::{name}"
                tensors[name] = file.get_tensor(full)
                if checksum(tensors[name]) != sums.get(full):
                    raise ShardError(f"the checksum of '{full}' differs")
        except (ShardError, OSError) as error:
            self._damaged(self.folder / shard, error)
            return None
        return tensors

    def put_many(self, entries: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Stores entries in one new shard; when this returns they are on disk. Group small entries: see :meth:`writer`.

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
                # A clone: entries may be views of one buffer, which safetensors refuses to store.
                tensors[f"{key}::{name}"] = tensor.detach().to("cpu", copy=True).contiguous()
        sums = {name: checksum(tensor) for name, tensor in tensors.items()}
        shard = f"{time.time_ns():x}-{os.getpid()}-{secrets.token_hex(4)}.safetensors"
        write_shard(self.folder / shard, tensors, {"checksums": json.dumps(sums)})
        self._known.add(shard)
        for key, named in entries.items():
            self._where[key] = shard, tuple(named)

    @contextmanager
    def writer(self, shard_bytes: int = SHARD_BYTES, seconds: float = 60.0) -> Iterator[Writer]:
        """Collects small entries into shards of about ``shard_bytes``, written at the latest after ``seconds``.

        What was collected is also written when the block is left by an exception: finished work is kept.
        """
        writer = Writer(self, shard_bytes, seconds)
        try:
            yield writer
        finally:
            writer.flush()

    def _learn(self, path: Path) -> None:
        try:
            names = read_names(path)
        except FileNotFoundError:  # another process moved it out of the way
            return
        except (ShardError, OSError) as error:
            self._damaged(path, error)
            return
        self._known.add(path.name)
        entries: dict[str, list[str]] = {}
        for full in names:
            key, mark, name = full.rpartition("::")
            if mark:  # else it is somebody's model that strayed into the folder
                entries.setdefault(key, []).append(name)
        for key, parts in entries.items():
            self._where[key] = path.name, tuple(parts)

    def _shard(self, name: str) -> tuple[Any, Mapping[str, int]]:
        if name not in self._open:
            import safetensors

            try:
                file = safetensors.safe_open(str(self.folder / name), framework="pt")  # type: ignore[no-untyped-call]
                sums = json.loads(file.metadata()["checksums"])
            except (safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
                raise ShardError(str(error)) from error
            self._open[name] = file, sums
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(name)
        return self._open[name]

    def _damaged(self, path: Path, error: Exception) -> None:
        lost = [key for key, (shard, _) in self._where.items() if shard == path.name]
        for key in lost:
            del self._where[key]
        self._open.pop(path.name, None)
        try:
            path.replace(path.with_suffix(".damaged"))
        except OSError:
            self._known.add(path.name)  # it stays where it is and is not asked again
        warnings.warn(
            f"the cache file '{path}' is damaged ({error}); it is ignored and what it held is computed again.",
            RuntimeWarning,
            stacklevel=3,
        )

    def _sweep(self) -> None:
        """Removes what killed writers left behind, and damaged files that nobody has looked at for a day."""
        for path in [*self.folder.glob(f"*{PART}"), *self.folder.glob("*.damaged")]:
            try:
                if time.time() - path.stat().st_mtime > ABANDONED_AFTER:
                    path.unlink()
            except OSError:
                continue


class Writer:
    """Collects entries for a :class:`TensorCache`; made by its :meth:`~TensorCache.writer`."""

    def __init__(self, cache: TensorCache, shard_bytes: int, seconds: float) -> None:
        self._cache, self._limit, self._seconds = cache, shard_bytes, seconds
        self._entries: dict[str, dict[str, Tensor]] = {}
        self._bytes, self._since = 0, time.monotonic()

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Takes an entry; writes a shard when enough has been collected."""
        self._entries[key] = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        self._bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        if self._bytes >= self._limit or time.monotonic() - self._since >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Writes what has been collected."""
        entries, self._entries = self._entries, {}
        self._bytes, self._since = 0, time.monotonic()
        self._cache.put_many(entries)


def checksum(tensor: Tensor) -> int:
    """CRC-32 of a CPU tensor's bytes."""
    return zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]

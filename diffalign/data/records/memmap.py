"""Mapped: pairs that are put into a file while they are read, and come back one by one through a memory map.

Text is what a table of a hundred thousand pairs is made of: as Python objects it would be several times its size on the
disk, in every process. Here a pair costs eight bytes of memory, the place where it begins. The file has no name and
goes when nobody uses it any more, also after a crash; it lies where temporary files do (``TMPDIR``).
"""

from __future__ import annotations

import mmap
import pickle
import tempfile
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import chain, islice
from operator import attrgetter
from typing import IO

from diffalign.data.records.lazy import LazyPairs
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError

KEEP = 4096
"""Up to so many pairs stay in a list."""

RELEASE = 16
"""After so many looks the map's pages are given back, which otherwise count as the process's memory: one look may map
two megabytes around it. The system keeps them cached."""

_values = attrgetter(*(field.name for field in fields(Pair)))


class MappedPairs(LazyPairs):
    """Pairs in a temporary file of this process and its forks.

    Args:
        pairs: Taken one by one.

    Raises:
        DataError: The disk is full.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._starts, self._looks = array("Q", [0]), 0
        with tempfile.TemporaryFile(prefix="diffalign-pairs-", buffering=2**20) as file:
            self._write(file, pairs)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self._starts[-1] else None

    def _write(self, file: IO[bytes], pairs: Iterable[Pair]) -> None:
        place = 0
        for pair in pairs:
            data = pickle.dumps(_values(pair), pickle.HIGHEST_PROTOCOL)
            place += len(data)
            try:
                file.write(data)
            except OSError as error:
                raise _no_room(place, error) from error
            self._starts.append(place)
        try:
            file.flush()
        except OSError as error:
            raise _no_room(place, error) from error

    def __len__(self) -> int:
        return len(self._starts) - 1

    def at(self, index: int) -> Pair:
        """The pair at ``index``."""
        assert self._map is not None
        start, end = self._starts[index], self._starts[index + 1]
        pair = Pair(*pickle.loads(self._map[start:end]))  # our own bytes, from a file that has no name
        self._looks += 1
        if self._looks % RELEASE == 0 and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
        return pair


def collect(pairs: Iterable[Pair], keep: int = KEEP) -> Sequence[Pair]:
    """The pairs as a list, or on disk when there are more than ``keep``."""
    rest = iter(pairs)
    first = list(islice(rest, keep + 1))
    return first if len(first) <= keep else MappedPairs(chain(first, rest))


def _no_room(size: int, error: OSError) -> DataError:
    folder = tempfile.gettempdir()
    return DataError(
        f"after {size:,} bytes the pairs that are read cannot be put into a temporary file in '{folder}': "
        f"{error.strerror}. Make room there, or name a folder with more: TMPDIR=FOLDER diffalign ..."
    )

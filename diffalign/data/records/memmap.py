"""Memory-mapped pairs: written to a temporary file while they are read, and read back one by one.

A table of a hundred thousand pairs is mostly text. As Python objects it would take several times its size on the disk,
in every process. Here a pair costs eight bytes of memory, for its offset in the file. The file has no name, lies in the
folder of temporary files (``TMPDIR``), and the system deletes it when the last process closes it, also after a crash.
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

from diffalign.data.records.lazy_pairs import LazyPairs
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError

MAX_IN_LIST = 4096
"""At most this many pairs stay in a list."""

READS_PER_RELEASE = 16
"""After this many reads the map's pages are released: they would count as the process's memory, and one read can map
two megabytes around it. The system keeps them cached."""

_field_values = attrgetter(*(field.name for field in fields(Pair)))


class MappedPairs(LazyPairs):
    """Pairs in a temporary file of this process and its forks.

    Args:
        pairs: Read one by one.

    Raises:
        DataError: The disk is full.
    """

    def __init__(self, pairs: Iterable[Pair]) -> None:
        self._starts, self._reads = array("Q", [0]), 0
        with tempfile.TemporaryFile(prefix="diffalign-pairs-", buffering=2**20) as file:
            self._write(file, pairs)
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if self._starts[-1] else None

    def _write(self, file: IO[bytes], pairs: Iterable[Pair]) -> None:
        offset = 0
        for pair in pairs:
            data = pickle.dumps(_field_values(pair), pickle.HIGHEST_PROTOCOL)
            offset += len(data)
            try:
                file.write(data)
            except OSError as error:
                raise _disk_full(offset, error) from error
            self._starts.append(offset)
        try:
            file.flush()
        except OSError as error:
            raise _disk_full(offset, error) from error

    def __len__(self) -> int:
        return len(self._starts) - 1

    def at(self, index: int) -> Pair:
        """Returns the pair at ``index``."""
        assert self._map is not None
        start, end = self._starts[index], self._starts[index + 1]
        pair = Pair(*pickle.loads(self._map[start:end]))  # safe: written by this process, in a file without a name
        self._reads += 1
        if self._reads % READS_PER_RELEASE == 0 and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
        return pair


def collect(pairs: Iterable[Pair], max_in_list: int = MAX_IN_LIST) -> Sequence[Pair]:
    """Returns the pairs as a list, or on disk when there are more than ``max_in_list``."""
    iterator = iter(pairs)
    first = list(islice(iterator, max_in_list + 1))
    return first if len(first) <= max_in_list else MappedPairs(chain(first, iterator))


def _disk_full(size: int, error: OSError) -> DataError:
    folder = tempfile.gettempdir()
    return DataError(
        f"cannot write pairs to a temporary file in '{folder}' after {size:,} bytes: {error.strerror}. Free space "
        "there, or name another folder: TMPDIR=FOLDER diffalign ..."
    )

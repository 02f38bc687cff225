"""Lazy sequences of pairs: each pair is made when it is indexed, so that a million of them need no memory.

A slice is also lazy. Sequences that are small enough for a list stay lists.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Callable, Sequence
from typing import overload

from diffalign.data.records.pair import Pair


class LazyPairs(Sequence[Pair]):
    """Pairs by index. A subclass defines ``__len__`` and ``at``."""

    @abstractmethod
    def at(self, index: int) -> Pair:
        """Returns the pair at ``index``, which lies in ``[0, len)``."""

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        if isinstance(index, slice):
            return _IndexedPairs(self, range(*index.indices(len(self))))
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        return self.at(position)

    def __repr__(self) -> str:
        return f"<{len(self):,} lazy pairs>"


class _IndexedPairs(LazyPairs):
    def __init__(self, pairs: Sequence[Pair], indices: Sequence[int]) -> None:
        self._pairs, self._indices = pairs, indices

    def __len__(self) -> int:
        return len(self._indices)

    def at(self, index: int) -> Pair:
        return self._pairs[self._indices[index]]


class _MappedPairs(LazyPairs):
    def __init__(self, pairs: Sequence[Pair], function: Callable[[Pair], Pair]) -> None:
        self._pairs, self._function = pairs, function

    def __len__(self) -> int:
        return len(self._pairs)

    def at(self, index: int) -> Pair:
        return self._function(self._pairs[index])


class _ConcatenatedPairs(LazyPairs):
    def __init__(self, first: Sequence[Pair], second: Sequence[Pair]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def at(self, index: int) -> Pair:
        first_count = len(self._first)
        return self._first[index] if index < first_count else self._second[index - first_count]


def map_pairs(pairs: Sequence[Pair], function: Callable[[Pair], Pair]) -> Sequence[Pair]:
    """Applies ``function`` to every pair. The result of a list is a list, that of a lazy sequence is lazy."""
    return _MappedPairs(pairs, function) if isinstance(pairs, LazyPairs) else [function(pair) for pair in pairs]


def filter_pairs(pairs: Sequence[Pair], keep: Callable[[Pair], bool]) -> Sequence[Pair]:
    """Keeps the pairs for which ``keep`` is true, in their order. The result is lazy where ``pairs`` are."""
    if not isinstance(pairs, LazyPairs):
        return [pair for pair in pairs if keep(pair)]
    return _IndexedPairs(pairs, array("Q", (index for index, pair in enumerate(pairs) if keep(pair))))


def concat_pairs(first: Sequence[Pair], second: Sequence[Pair]) -> Sequence[Pair]:
    """Concatenates two sequences. The result is lazy where one of them is, otherwise a list."""
    lazy = isinstance(first, LazyPairs) or isinstance(second, LazyPairs)
    return _ConcatenatedPairs(first, second) if lazy else [*first, *second]

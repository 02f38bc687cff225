"""Lazy sequences of pairs: each pair is made when it is asked for, so that a million of them need no memory.

A slice is a sequence of the same kind. What is small enough to lie in a list stays a list.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Callable, Sequence
from typing import overload

from diffalign.data.records.pair import Pair


class LazyPairs(Sequence[Pair]):
    """Pairs by index. A leaf says how many there are and makes one."""

    @abstractmethod
    def at(self, index: int) -> Pair:
        """The pair at ``index``, which lies in ``[0, len)``."""

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Pair]: ...
    def __getitem__(self, index: int | slice) -> Pair | Sequence[Pair]:
        if isinstance(index, slice):
            return _Selected(self, range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(f"pair {index} of {len(self)}")
        return self.at(place)

    def __repr__(self) -> str:
        return f"<{len(self):,} pairs, made when they are asked for>"


class _Selected(LazyPairs):
    def __init__(self, pairs: Sequence[Pair], indices: Sequence[int]) -> None:
        self._pairs, self._indices = pairs, indices

    def __len__(self) -> int:
        return len(self._indices)

    def at(self, index: int) -> Pair:
        return self._pairs[self._indices[index]]


class _Changed(LazyPairs):
    def __init__(self, pairs: Sequence[Pair], change: Callable[[Pair], Pair]) -> None:
        self._pairs, self._change = pairs, change

    def __len__(self) -> int:
        return len(self._pairs)

    def at(self, index: int) -> Pair:
        return self._change(self._pairs[index])


class _Joined(LazyPairs):
    def __init__(self, first: Sequence[Pair], second: Sequence[Pair]) -> None:
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def at(self, index: int) -> Pair:
        first = len(self._first)
        return self._first[index] if index < first else self._second[index - first]


def map_pairs(pairs: Sequence[Pair], change: Callable[[Pair], Pair]) -> Sequence[Pair]:
    """``change`` of every pair: a list of a list, lazily of a lazy sequence."""
    return _Changed(pairs, change) if isinstance(pairs, LazyPairs) else [change(pair) for pair in pairs]


def filter_pairs(pairs: Sequence[Pair], keep: Callable[[Pair], bool]) -> Sequence[Pair]:
    """The pairs that ``keep`` is true of, in their order: a list of a list, lazily of a lazy sequence."""
    if not isinstance(pairs, LazyPairs):
        return [pair for pair in pairs if keep(pair)]
    return _Selected(pairs, array("Q", (index for index, pair in enumerate(pairs) if keep(pair))))


def concat_pairs(first: Sequence[Pair], second: Sequence[Pair]) -> Sequence[Pair]:
    """One after the other: a list of lists, lazily where one of them is lazy."""
    lazy = isinstance(first, LazyPairs) or isinstance(second, LazyPairs)
    return _Joined(first, second) if lazy else [*first, *second]

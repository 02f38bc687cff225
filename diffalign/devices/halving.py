"""Work in pieces that halve when memory runs out: what is computed stays the same, and the user hears of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar

import torch

from diffalign.devices.out_of_memory import is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


_SAY: ContextVar[Callable[[str], None]] = ContextVar("say", default=_to_stderr)


@contextmanager
def heard_by(say: Callable[[str], None]) -> Iterator[None]:
    """Sends the messages of pieces within the block to ``say``, a run's report; otherwise they go to stderr."""
    token = _SAY.set(say)
    try:
        yield
    finally:
        _SAY.reset(token)


class Pieces:
    """Computes items in pieces of at most ``size``, which halve when the device runs out of memory, and stay so.

    Args:
        what: What is done, after "while": "images are encoded".
        size: Items of a piece.

    Attributes:
        size: Items of a piece from now on.
    """

    def __init__(self, what: str, size: int) -> None:
        self.what, self.size = what, max(1, size)

    def each(self, items: Iterable[Item], compute: Callable[[list[Item]], Sequence[Result]]) -> Iterator[Result]:
        """Yields the results of all items in their order; ``compute`` returns one for each item of a piece.

        Raises:
            Exception: As ``compute``; out of memory only where a single item does not fit.
        """
        waiting = iter(items)
        piece: list[Item] = []
        while True:
            piece += islice(waiting, max(0, self.size - len(piece)))
            if not piece:
                return
            now, results = piece[: self.size], None
            try:
                results = compute(now)
            except Exception as error:
                if not is_out_of_memory(error) or len(now) == 1:
                    raise
            if results is None:  # after `except`: by then the tensors of the failed attempt are freed
                self.halve(len(now))
                continue
            yield from results
            piece = piece[len(now) :]

    def halve(self, failed: int) -> None:
        """Halves the pieces after one of ``failed`` items did not fit, frees what can be freed, and says so."""
        self.size = max(1, failed // 2)
        free_memory()
        _SAY.get()(f"out of memory while {self.what}: {self.size} at once from now on; the results stay the same")


def free_memory() -> None:
    """Gives the unused memory of a GPU's allocator back. What the failed attempt made is freed with its error."""
    torch.cuda.empty_cache()

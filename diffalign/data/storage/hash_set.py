"""Distinct: which of many texts have been seen, in 16 to 32 bytes each, however long they are.

A set of strings holds what it has seen; a data set of a million rows must be read without that. Texts are told apart by
64 bits of their BLAKE2b hash: among a million, two different ones are taken for one with a probability of 3e-8.
"""

from __future__ import annotations

import hashlib
from array import array

_FIRST = 1024


class Distinct:
    """The texts that were added. ``len()`` is the number of distinct ones."""

    def __init__(self) -> None:
        self._slots, self._count = array("Q", bytes(8 * _FIRST)), 0

    def __len__(self) -> int:
        return self._count

    def add(self, text: str | bytes) -> bool:
        """Adds a text; returns whether it is new."""
        value = fingerprint(text)
        if not _put(self._slots, value):
            return False
        self._count += 1
        if 2 * self._count > len(self._slots):
            slots = array("Q", bytes(16 * len(self._slots)))
            for known in self._slots:
                if known:
                    _put(slots, known)
            self._slots = slots
        return True


def fingerprint(text: str | bytes) -> int:
    """64 bits of the text's hash; never 0."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1


def _put(slots: array[int], value: int) -> bool:
    """Open addressing; 0 is an empty slot. Returns whether the value was not there."""
    mask = len(slots) - 1
    place = value & mask
    while slots[place]:
        if slots[place] == value:
            return False
        place = (place + 1) & mask
    slots[place] = value
    return True

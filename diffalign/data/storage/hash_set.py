"""A set of texts by their hashes: 16 to 32 bytes per text, however long it is.

A set of strings keeps every string, which is too much for a data set of a million rows. Here a text is identified by 64
bits of its BLAKE2b hash: among a million texts, two different ones collide with a probability of 3e-8.
"""

from __future__ import annotations

import hashlib
from array import array

_INITIAL_SLOTS = 1024


class HashSet:
    """The texts that were added. ``len()`` is the number of distinct ones."""

    def __init__(self) -> None:
        self._slots, self._count = array("Q", bytes(8 * _INITIAL_SLOTS)), 0

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
            for stored_hash in self._slots:
                if stored_hash:
                    _put(slots, stored_hash)
            self._slots = slots
        return True


def fingerprint(text: str | bytes) -> int:
    """Returns 64 bits of the text's hash; never 0."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1


def _put(slots: array[int], value: int) -> bool:
    """Adds a value by open addressing, where 0 is an empty slot. Returns whether the value is new."""
    mask = len(slots) - 1
    index = value & mask
    while slots[index]:
        if slots[index] == value:
            return False
        index = (index + 1) & mask
    slots[index] = value
    return True

"""An example to score: a sample with its prompt, or both candidates of a pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Media

Side = tuple[Text, Media]
"""A prompt and a sample."""


@dataclass(frozen=True)
class Example:
    """What gets one row of scores.

    Args:
        id: Stable between calls; it says in progress files whose scores a line holds.
        name: Where it came from, for messages and tables: a file's name, or ``"file:row"``.
        sides: The samples, each with its prompt: one, or a pair's chosen and rejected candidate.
        problem: Why it cannot be scored, where that is known before; empty otherwise.
        has_prompt: False for a sample without a prompt, whose prompt is then ``""``.
    """

    id: str
    name: str
    sides: tuple[Side, ...]
    problem: str = ""
    has_prompt: bool = True


class Examples(Protocol):
    """Examples that can be read several times, from the beginning, without all of them in memory."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Example]: ...

"""The place of a candidate that a policy will sample in a round of training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ToSample:
    """A candidate that does not exist yet.

    Args:
        number: Which of its prompt's samples it will be.
        tokens: Of a text, the largest number of tokens that it may have.
    """

    number: int
    tokens: int = 1

    def __str__(self) -> str:
        return f"a sample of the policy (number {self.number + 1} of its prompt)"

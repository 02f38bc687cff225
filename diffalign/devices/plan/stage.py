"""A stage of a run, and the memory that it takes on one device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stage:
    """What is in a device's memory in one stage of a run.

    Args:
        name: ``"encode"``, ``"reference"``, ``"sample"``, ``"update"`` or ``"judge"``.
        weights: Bytes of each part that is on the device, by its name.
        gradients: Bytes of gradients.
        optimizer: Bytes of the optimizer's state, and of averaged weights.
        activations: The most bytes of tensors that are made and freed in the stage; None: not known.
        at_once: What these are of, such as ``"4 pairs"``.
        unknown: Why the activations are not known.
    """

    name: str
    weights: Mapping[str, int] = field(default_factory=dict)
    gradients: int = 0
    optimizer: int = 0
    activations: int | None = None
    at_once: str = ""
    unknown: str = ""

    @property
    def resident(self) -> int:
        """Bytes that stay between two passes."""
        return sum(self.weights.values()) + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        """The largest number of bytes; without activations where they are not known."""
        return self.resident + (self.activations or 0)


@dataclass(frozen=True)
class MemoryLine:
    """Memory of a stage as a line of the number of examples at once: ``bytes = fixed + each n``.

    Args:
        fixed: Bytes that any number needs.
        each: Bytes that every example adds.
    """

    fixed: float
    each: float

    @classmethod
    def through(cls, first: tuple[int, int], second: tuple[int, int]) -> MemoryLine:
        """Returns the line through two measurements ``(examples, bytes)``."""
        (few, small), (many, large) = first, second
        each = (large - small) / (many - few)
        return cls(small - each * few, each)

    def at(self, count: int) -> int:
        """Returns the bytes of ``count`` examples."""
        return max(0, round(self.fixed + self.each * count))

    def most(self, limit: int, at_most: int) -> int:
        """Returns how many examples fit into ``limit`` bytes, up to ``at_most``; 0 where not even one does."""
        return next((count for count in range(at_most, 0, -1) if self.at(count) <= limit), 0)

"""A clip: frames of equal size at a constant rate, the sample of the medium "video"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FASTEST = 1000.0
"""Frames per second that times in milliseconds can tell apart."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A decoded clip.

    Args:
        frames: ``(F, H, W, 3)`` uint8, RGB as a viewer would show them.
        fps: Frames per second: frame k is shown from k / fps to (k + 1) / fps seconds.

    Raises:
        ValueError: The frames have another shape or type, or the rate is not in (0, 1000].
    """

    frames: np.ndarray
    fps: float

    def __post_init__(self) -> None:
        frames = self.frames
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            given = f"{frames.dtype} {frames.shape}" if isinstance(frames, np.ndarray) else type(frames).__name__
            raise ValueError(f"frames are uint8 of shape (F, H, W, 3); got {given}")
        if min(frames.shape) < 1:
            raise ValueError(f"a clip has at least one frame of at least one pixel; got the shape {frames.shape}")
        if not 0 < self.fps <= FASTEST:
            raise ValueError(f"fps is in frames per second, above 0 and at most {FASTEST:g}; got {self.fps}")

    def __len__(self) -> int:
        return len(self.frames)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Clip) and self.fps == other.fps and np.array_equal(self.frames, other.frames)

    __hash__ = None  # type: ignore[assignment]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return self.frames.shape[2], self.frames.shape[1]

    @property
    def seconds(self) -> float:
        """How long it is shown."""
        return len(self.frames) / self.fps

"""Reads a clip's motion from where its object lies and how large it is: the judge that makes the pairs.

The object is what differs from the frame's rim by more than 60 in the sum of the three channels. Straight lines through
the frames' centres and areas give the whole displacement and the ratio of the last area to the first.
"""

from dataclasses import dataclass

import numpy as np

from pipelines.embedded_motion.motions import DIRECTIONS

APART, SMALLEST_AREA = 60, 30
WAY, GROWTH = 23.0, 4.94
"""What a perfect clip can reach: pixels of displacement, ratio of areas (1 / 0.45 squared)."""
STILL, GREW = 3.0, 1.5
"""Displacement in pixels below which an object is still, and ratio of areas above which it grows."""


@dataclass(frozen=True)
class Seen:
    """What was read from a clip.

    Args:
        x: Displacement to the right from first to last frame, in pixels.
        y: Displacement downwards.
        growth: Ratio of the last area to the first.
        whole: Whether every frame shows an object; otherwise the numbers are those of no motion.
    """

    x: float
    y: float
    growth: float
    whole: bool = True

    @property
    def motion(self) -> str:
        """The motion's word, or "nothing" for a clip with an empty frame, and "shrinking", which no prompt states."""
        if not self.whole:
            return "nothing"
        if max(self.growth, 1 / self.growth) > GREW:
            return "growing" if self.growth > 1 else "shrinking"
        if np.hypot(self.x, self.y) < STILL:
            return "still"
        if abs(self.x) > abs(self.y):
            return "rightwards" if self.x > 0 else "leftwards"
        return "downwards" if self.y > 0 else "upwards"


def look(frames: np.ndarray) -> Seen:
    """Returns what the frames ``(F, 64, 64, 3)`` uint8 show."""
    found = [_object(frame) for frame in frames.astype(np.float32)]
    if any(area < SMALLEST_AREA for _, _, area in found):
        return Seen(0.0, 0.0, 1.0, whole=False)
    t = np.linspace(-0.5, 0.5, len(found))
    values = np.array(found)
    slopes = (t @ (values - values.mean(0))) / (t @ t)
    first, last = (values[:, 2].mean() + sign * slopes[2] / 2 for sign in (-1, 1))
    return Seen(float(slopes[0]), float(slopes[1]), float(max(last, 1.0) / max(first, 1.0)))


def score(motion: str, seen: Seen) -> float:
    """Returns how well the stated motion is shown: 1 for a whole way in its direction, below 0 for the contrary.

    Along the direction minus across it, as shares of the possible way; growing counts the logarithm of the areas' ratio
    minus the displacement, and still what both leave of 1.
    """
    if not seen.whole:
        return -2.0
    moved, grown = np.hypot(seen.x, seen.y) / WAY, np.log(seen.growth) / np.log(GROWTH)
    if motion == "growing":
        return float(grown - moved)
    if motion == "still":
        return float(1 - moved - abs(grown))
    dx, dy = DIRECTIONS[motion]
    return float((seen.x * dx + seen.y * dy - abs(seen.x * dy) - abs(seen.y * dx)) / WAY - abs(grown))


def _object(frame: np.ndarray) -> tuple[float, float, float]:
    """Returns centre x, centre y and area of what differs from the rim, in pixels."""
    rim = np.concatenate([frame[:2].reshape(-1, 3), frame[-2:].reshape(-1, 3), frame[:, :2].reshape(-1, 3),
                          frame[:, -2:].reshape(-1, 3)])  # fmt: skip
    rows, columns = np.nonzero(np.abs(frame - np.median(rim, axis=0)).sum(-1) > APART)
    if not len(rows):
        return 0.0, 0.0, 0.0
    return float(columns.mean()), float(rows.mean()), float(len(rows))

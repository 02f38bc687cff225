"""How much the pixels of a clip change: pure functions on frames ``(F, H, W, 3)`` uint8."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def mean_difference(frames: np.ndarray, others: Iterable[np.ndarray]) -> float:
    """Returns the mean absolute difference of frames and as many others, in 8-bit steps."""
    pairs = zip(frames, others, strict=True)  # one pair at a time, so that memory does not grow with the clip
    return float(np.mean([np.abs(frame.astype(np.float32) - other).mean(dtype=np.float64) for frame, other in pairs]))


def share_unchanged(difference: float) -> float:
    """Maps a mean absolute difference to [0, 1]: (255 - difference) / 255."""
    return (255.0 - difference) / 255.0

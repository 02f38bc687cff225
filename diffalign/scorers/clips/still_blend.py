"""Still blend: how well a frame equals the mean of its two neighbours. 1 for a still clip.

    score = (255 - mean over odd f of mean |x_f - (x_{f-1} + x_{f+1}) / 2|) / 255        pixels in 0..255

The dropped frames are those of VBench's motion smoothness; the interpolating network is replaced by a plain mean, so
every motion lowers the score, not only jerks. Needs numpy alone; with OpenCV installed, `flow_smoothness` is better.
Like `flicker` it rewards stillness.

Source: Huang et al. 2023 (arXiv 2311.17982), motion smoothness, without its network.
"""

from __future__ import annotations

import numpy as np

from diffalign.scorers.clips.clip_input import Clip
from diffalign.scorers.clips.frame_change import mean_difference, share_unchanged
from diffalign.scorers.clips.measure import Measure


def still_blend(frames: np.ndarray) -> float:
    """Computes the score of frames ``(F, H, W, 3)`` uint8, F >= 3; an even clip's last frame has one neighbour and is
    left out.
    """
    left, middle, right = odd_with_neighbours(frames)
    blends = (0.5 * (before.astype(np.float32) + after) for before, after in zip(left, right, strict=True))
    return share_unchanged(mean_difference(middle, blends))


def odd_with_neighbours(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the odd frames that have two neighbours, between the frames before and after them."""
    right = frames[2::2]
    return frames[: 2 * len(right) : 2], frames[1 : 2 * len(right) : 2], right


class StillBlend(Measure):
    """Odd frames against the mean of their neighbours."""

    kind = "still_blend"
    unit = "1 - mean difference from the neighbours' mean"
    paper = "arXiv 2311.17982, without its network"
    min_frames = 3

    def measure(self, clip: Clip) -> float:
        """Computes the score of a clip."""
        return still_blend(clip.frames)

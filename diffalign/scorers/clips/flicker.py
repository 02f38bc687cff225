"""Flicker: how little neighbouring frames differ. 1 for a still clip.

    score = (255 - mean over f of mean |x_f - x_{f-1}|) / 255        pixels in 0..255

No weights are involved and the formula is that of VBench's temporal flickering, so the score may be called that.
VBench's total maps it from [0.6293, 1] to [0, 1].

The score rewards stillness: any motion lowers it, and the stillest clip wins. It is therefore never used without a
measure of motion beside it (`flow_dynamic` or `flow_motion`).

Source: Huang et al. 2023 (arXiv 2311.17982), temporal flickering.
"""

from __future__ import annotations

import numpy as np

from diffalign.scorers.clips.clip_input import Clip
from diffalign.scorers.clips.frame_change import mean_difference, share_unchanged
from diffalign.scorers.clips.measure import Measure


def flicker(frames: np.ndarray) -> float:
    """Computes the score of frames ``(F, H, W, 3)`` uint8, F >= 2."""
    return share_unchanged(mean_difference(frames[1:], frames[:-1]))


class Flicker(Measure):
    """VBench's temporal flickering."""

    kind = "flicker"
    unit = "1 - mean change of a pixel"
    paper = "arXiv 2311.17982"
    min_frames = 2

    def measure(self, clip: Clip) -> float:
        """Computes the score of a clip."""
        return flicker(clip.frames)

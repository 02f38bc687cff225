"""Flow smoothness: how well a frame lies between its two neighbours, after both are moved half way towards each other.

    m_f   = (warp(x_{f-1}, flow_{f-1 -> f+1} / 2) + warp(x_{f+1}, flow_{f+1 -> f-1} / 2)) / 2
    score = (255 - mean over odd f of mean |x_f - m_f|) / 255        pixels in 0..255

Steady motion scores near 1, jerks and flashes lower; a still clip scores 1. The idea and the frames are those of
VBench's motion smoothness, whose interpolating network is replaced by optical flow (DIS, both directions, bilinear,
borders repeated), so the numbers are not VBench's.

Source: Huang et al. 2023 (arXiv 2311.17982), motion smoothness, with the flow of Kroeger et al. 2016 (arXiv
    1603.03590).
"""

from __future__ import annotations

import numpy as np

from diffalign.scorers.clips.clip_input import Clip
from diffalign.scorers.clips.frame_change import mean_difference, share_unchanged
from diffalign.scorers.clips.measure import Measure
from diffalign.scorers.clips.optical_flow import Flow, load_cv2, load_flow
from diffalign.scorers.clips.still_blend import odd_with_neighbours


def flow_smoothness(frames: np.ndarray, flow: Flow) -> float:
    """Computes the score of frames ``(F, H, W, 3)`` uint8, F >= 3."""
    left, middle, right = odd_with_neighbours(frames)
    halfway = (_halfway(before, after, flow) for before, after in zip(left, right, strict=True))
    return share_unchanged(mean_difference(middle, halfway))


def _halfway(before: np.ndarray, after: np.ndarray, flow: Flow) -> np.ndarray:
    forward, backward = flow(before, after), flow(after, before)
    return np.asarray(0.5 * (_warp(before, 0.5 * forward) + _warp(after, 0.5 * backward)), np.float32)


def _warp(frame: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """Moves the pixels of a frame: the value at p is read at p - motion(p)."""
    cv2 = load_cv2()
    height, width = frame.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    to_x, to_y = x - motion[..., 0], y - motion[..., 1]
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(frame.astype(np.float32), to_x, to_y, cv2.INTER_LINEAR, borderMode=border))


class FlowSmoothness(Measure):
    """Odd frames against their neighbours, moved half way."""

    kind = "flow_smoothness"
    unit = "1 - mean difference from the moved neighbours"
    paper = "arXiv 2311.17982, with optical flow in place of its network"
    min_frames = 3

    def __init__(self) -> None:
        super().__init__()
        self._flow = load_flow("dis", self.kind)

    def measure(self, clip: Clip) -> float:
        """Computes the score of a clip."""
        return flow_smoothness(clip.frames, self._flow)

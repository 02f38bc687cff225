"""Flow motion: how far the fastest parts of a clip move, as a share of the short side. 0 for a still clip.

    r_f   = mean of the largest 5 % of |flow_{f -> f+1}|        frames thinned to about 8 per second
    score = mean over f of r_f / min(H, W)

A continuous number beside the yes or no of `flow_dynamic`, which many clips share. It says how much moves, not whether
it should: noise has a large score as well, so read it with `flow_smoothness`.

Source: the quantity that VBench's dynamic degree compares with a threshold (Huang et al. 2023, arXiv 2311.17982), by
OpenCV's optical flow in place of RAFT.
"""

from __future__ import annotations

import numpy as np

from diffalign.errors import DataError
from diffalign.scorers.clips.clip_input import Clip
from diffalign.scorers.clips.measure import Measure
from diffalign.scorers.clips.optical_flow import FLOWS, Flow, load_flow

LARGEST_SHARE = 0.05
"""Share of the pixels whose motion counts: a small object that moves is motion."""
RATE = 8.0
"""Frames per second after thinning."""


def fastest_motion(clip: Clip, flow: Flow) -> np.ndarray:
    """Returns ``(n - 1,)``: the mean of the largest 5 % of motion in each step of the n frames left after thinning, in
    pixels.
    """
    step = max(1, round(clip.fps / RATE))
    frames = clip.frames[::step]
    if len(frames) < 2:
        raise DataError(
            f"motion is measured at about {RATE:g} frames per second, and a clip of {len(clip)} frames at {clip.fps:g} "
            "frames per second has one frame then. Make longer clips, or leave this one out."
        )
    count = max(1, int(LARGEST_SHARE * frames.shape[1] * frames.shape[2]))
    found = []
    for before, after in zip(frames, frames[1:], strict=False):
        magnitudes = np.linalg.norm(flow(before, after), axis=-1).ravel()
        found.append(np.partition(magnitudes, -count)[-count:].mean(dtype=np.float64))
    return np.array(found)


def flow_motion(clip: Clip, flow: Flow) -> float:
    """Computes the score of a clip of two frames or more."""
    return float(fastest_motion(clip, flow).mean() / min(clip.size))


class FlowMeasure(Measure):
    """A measure by a method of optical flow, which its argument names."""

    min_frames = 2

    def __init__(self, method: str = "") -> None:
        super().__init__()
        self._flow = load_flow(method, self.kind)
        self.name = f"{self.kind}:{method or FLOWS[0]}"

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> FlowMeasure:
        """Builds the scorer for the registry; it uses no device."""
        return cls(argument)


class FlowMotion(FlowMeasure):
    """The mean of the largest motions."""

    kind = "flow_motion"
    unit = "share of the short side per step"
    range = (0.0, float("inf"))
    paper = "arXiv 2311.17982, dynamic degree without its threshold, by OpenCV's flow"

    def measure(self, clip: Clip) -> float:
        """Computes the score of a clip."""
        return flow_motion(clip, self._flow)

"""Flow dynamic: whether a clip moves, 1 or 0. The mean over clips is the share that moves.

    score = 1  if  #{f : r_f > 6 min(H, W) / 256} >= max(1, round(4 n / 16))      n frames, thinned to 8 a second

``r_f`` is the mean of the largest 5 % of motion in step f (see `flow_motion`). The rule is that of VBench's dynamic
degree; the flow is OpenCV's in place of RAFT, so the numbers are not VBench's. There, clips of two frames or fewer
always count as moving; here at least one step has to move.

Source: Huang et al. 2023 (arXiv 2311.17982), dynamic degree.
"""

from __future__ import annotations

from diffalign.scorers.clips.clip_input import Clip
from diffalign.scorers.clips.flow_motion import FlowMeasure, fastest_motion
from diffalign.scorers.clips.optical_flow import Flow

THRESHOLD = 6.0 / 256
"""Motion of a step that counts, as a share of the short side."""


def flow_dynamic(clip: Clip, flow: Flow) -> bool:
    """Decides whether a clip of two frames or more moves."""
    motion = fastest_motion(clip, flow)
    needed = max(1, round(4 * (len(motion) + 1) / 16))
    return int((motion > THRESHOLD * min(clip.size)).sum()) >= needed


class FlowDynamic(FlowMeasure):
    """Dynamic degree's rule."""

    kind = "flow_dynamic"
    unit = "1 if the clip moves"
    paper = "arXiv 2311.17982, dynamic degree, by OpenCV's flow"

    def measure(self, clip: Clip) -> float:
        """Returns 1 or 0."""
        return float(flow_dynamic(clip, self._flow))

"""Which frames of a clip a judge sees: as many as the clip's own rate asks for, or all up to a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffalign.data.media.clips.frame_rule import FrameRule, native_fps

LEAST, MOST = 4, 768


@dataclass(frozen=True)
class ByRate(FrameRule):
    """An even number of frames, ``rate`` for each second of the clip, spread over it from the first to the last.

    At least 4 and at most 768, and never more than the clip has: at 2 a second, one second of 8 frames gives 4 of them
    and one of 3 frames gives 2. A wrong rate of the clip is a wrong number of frames, and another score.

    Source: qwen-vl-utils 0.0.8, `smart_nframes`; VideoAlign's indices.
    """

    frames: int = 1
    rate: float = 2.0

    def choose(self, times: Sequence[float], end: float) -> list[int]:
        """Returns the indices of the frames; fewer than two where the clip has fewer."""
        count = len(times)
        if count < 2:
            return list(range(count))
        wanted = count / native_fps(times, end) * self.rate
        wanted = min(max(wanted, LEAST), math.floor(min(MOST, count) / 2) * 2)
        number = min(round(wanted / 2) * 2, count)
        return [int(index) for index in np.linspace(0, count - 1, number).round()]


@dataclass(frozen=True)
class UpTo(FrameRule):
    """All frames of a short clip; of a longer one ``most``, frame floor(k n / most) for k = 0 to most - 1.

    Source: VideoScore, `examples/run_videoscore.py`.
    """

    frames: int = 1
    most: int = 16

    def choose(self, times: Sequence[float], end: float) -> list[int]:
        """Returns the indices of the frames."""
        count = len(times)
        return list(range(count)) if count <= self.most else [k * count // self.most for k in range(self.most)]

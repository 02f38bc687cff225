"""Which frames of a video a model sees: rules on the times at which frames are shown, never on what they show.

Sources:
    rate: what a viewer sees at time t is the last frame with time <= t.
    stride: VideoDPO, data/video_data.py. linspace: VideoAlign. arange: VideoScore.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["rate", "span", "stride", "linspace", "arange"]
Short = Literal["drop", "hold"]
ROUNDING = 4e-4
"""Seconds by which a stored time may be late: some containers round times to milliseconds."""


@dataclass(frozen=True)
class FrameRule:
    """How ``frames`` frames are chosen.

    Args:
        kind: ``"rate"``: what is seen at the times start + k / fps. ``"span"``: the middle of each of ``frames`` equal
            parts of the whole. ``"stride"``: every ``stride``-th frame, every frame where there are too few.
            ``"linspace"`` and ``"arange"``: the whole as VideoAlign and VideoScore spread their frames over it.
        frames: Frames of the result, F.
        fps: Frames per second, for ``"rate"``.
        stride: Step between frames, for ``"stride"``.
        short: A video that is too short is refused (``"drop"``) or its last frame is held (``"hold"``). The kinds that
            spread over the whole then repeat frames evenly.
        start: Where ``"rate"`` and ``"stride"`` begin: a fraction of the free length, 0 for the first frame and 1 for
            the last start that still fits. Both clips of a pair have the same.

    Raises:
        ValueError: A value is out of its range.
    """

    kind: Kind = "rate"
    frames: int = 16
    fps: float = 8.0
    stride: int = 4
    short: Short = "drop"
    start: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _RULES:
            raise ValueError(f"the rule of frames is one of {', '.join(_RULES)}; got {self.kind!r}")
        if self.short not in ("drop", "hold"):
            raise ValueError(f"short is drop or hold; got {self.short!r}")
        if self.frames < 1 or self.stride < 1:
            raise ValueError(f"frames and stride are at least 1; got {self.frames} and {self.stride}")
        if not 0 < self.fps <= 1000 or not 0 <= self.start <= 1:
            raise ValueError(f"fps is in (0, 1000] and start in [0, 1]; got {self.fps} and {self.start}")

    @property
    def identity(self) -> str:
        """A text that differs when other frames could be chosen: a part of cache keys."""
        step = {"rate": f" at {self.fps:g} fps", "stride": f" every {self.stride}"}.get(self.kind, "")
        start = f" from {self.start:.6g}" if self.start and self.kind in ("rate", "stride") else ""
        return f"{self.kind} of {self.frames}{step}{start}, short {self.short}"

    def choose(self, times: Sequence[float], end: float) -> list[int]:
        """Returns the indices of the ``frames`` chosen frames, ascending, with repetitions.

        Args:
            times: Seconds at which each frame is first shown, ascending.
            end: Seconds at which the last one ceases to be shown.

        Returns:
            Fewer indices than ``frames`` where the video is too short and ``short`` is ``"drop"``.
        """
        if not len(times):
            return []
        found = _RULES[self.kind](self, np.asarray(times, dtype=np.float64) - times[0], end - times[0])
        if len(found) < self.frames and self.short == "hold":
            found += [len(times) - 1] * (self.frames - len(found))
        return found

    def result_fps(self, times: Sequence[float], end: float) -> float:
        """Returns the frames per second of the result, if nothing was held."""
        if self.kind == "rate":
            return self.fps
        native = native_fps(times, end)
        if self.kind == "stride":
            return native / _step(self, len(times))
        return native * self.frames / len(times)


def native_fps(times: Sequence[float], end: float) -> float:
    """Returns the mean rate of frames: their number by the time they are shown."""
    return len(times) / max(end - times[0], 1e-3 * len(times))


def end_of(times: Sequence[float], last_duration: float | None) -> float:
    """Returns when the last frame ceases to be shown: after its own duration, else after the median gap."""
    if last_duration:
        return times[-1] + last_duration
    gaps = np.diff(np.asarray(times, dtype=np.float64))
    return times[-1] + (float(np.median(gaps)) if len(gaps) else 0.0)


def _rate(rule: FrameRule, times: np.ndarray, end: float) -> list[int]:
    start = rule.start * max(0.0, end - rule.frames / rule.fps)
    fit = min(rule.frames, math.ceil((end - start) * rule.fps - 1e-3))  # frames that begin before the end
    return [bisect.bisect_right(times, start + k / rule.fps + ROUNDING) - 1 for k in range(max(fit, 1))]


def _stride(rule: FrameRule, times: np.ndarray, end: float) -> list[int]:
    count, step = len(times), _step(rule, len(times))
    first = round(rule.start * max(0, count - rule.frames * step))
    return list(range(first, count, step))[: rule.frames]


def _step(rule: FrameRule, count: int) -> int:
    return rule.stride if count >= rule.frames * rule.stride else 1


def _whole(pick: Callable[[int, int], np.ndarray]) -> Callable[[FrameRule, np.ndarray, float], list[int]]:
    def choose(rule: FrameRule, times: np.ndarray, end: float) -> list[int]:
        if len(times) < rule.frames and rule.short == "drop":
            return list(range(len(times)))
        return [int(index) for index in pick(len(times), rule.frames)]

    return choose


def _centres(count: int, frames: int) -> np.ndarray:
    return (2 * np.arange(frames) + 1) * count // (2 * frames)  # floor((k + 1/2) n / F), in integers


def _linspace(count: int, frames: int) -> np.ndarray:
    return np.linspace(0, count - 1, frames).round()


def _arange(count: int, frames: int) -> np.ndarray:
    return np.arange(frames) * count // frames


_RULES: dict[str, Callable[[FrameRule, np.ndarray, float], list[int]]] = {
    "rate": _rate,
    "span": _whole(_centres),
    "stride": _stride,
    "linspace": _whole(_linspace),
    "arange": _whole(_arange),
}

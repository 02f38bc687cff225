"""What is known of a clip after all of its frames were decoded once: how long it is, and how much moves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.take_frames import take_frames
from diffalign.data.records.pair import Media

SIDE = 64
"""Pixels of the short side at which movement is measured."""
RATE = 8.0
"""Frames per second at which it is measured, so that clips of any rate can be compared."""
STILL = 0.25
"""Levels of 255 below which a clip shows no movement: the noise of compression stays below."""


@dataclass(frozen=True)
class ClipFacts:
    """Facts about one clip.

    Args:
        frames: Number of frames.
        fps: Their mean rate.
        size: Width and height as shown, in pixels.
        motion: Mean absolute difference of neighbouring frames, in levels of 255, at 8 frames per second and 64 pixels.
    """

    frames: int
    fps: float
    size: tuple[int, int]
    motion: float

    @property
    def seconds(self) -> float:
        """How long it is shown."""
        return self.frames / self.fps

    @property
    def is_still(self) -> bool:
        """Whether nothing moves."""
        return self.motion < STILL


def clip_facts(media: Media) -> ClipFacts:
    """Decodes all frames of a clip, small, and returns its facts.

    Raises:
        DataError: It cannot be decoded; the message names it and the reason.
    """
    clip = open_clip(media, side=SIDE)
    size = clip.size if min(clip.size) < SIDE else open_clip(media, FrameRule(frames=1)).size
    return ClipFacts(len(clip), clip.fps, size, motion_of(clip))


def motion_of(clip: Clip) -> float:
    """Returns the mean absolute difference of neighbouring frames at 8 frames per second, in levels of 255.

    motion = mean over k of |x(t_{k+1}) - x(t_k)|,  t_k = k / 8 s
    """
    if clip.fps > RATE:
        count = max(1, math.ceil(clip.seconds * RATE - 1e-3))
        clip = take_frames(clip, FrameRule("rate", frames=count, fps=RATE, short="hold"))
    if len(clip) < 2:
        return 0.0
    return float(np.abs(np.diff(clip.frames.astype(np.int16), axis=0)).mean())

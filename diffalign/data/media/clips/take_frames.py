"""Takes the frames of a clip in memory that a rule chooses."""

from __future__ import annotations

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_rule import FrameRule


def take_frames(clip: Clip, rule: FrameRule) -> Clip:
    """Returns the clip of the chosen frames, as `open_clip` returns it where it reads the clip of a file."""
    times = [k / clip.fps for k in range(len(clip))]
    return Clip(clip.frames[rule.choose(times, clip.seconds)], rule.result_fps(times, clip.seconds))

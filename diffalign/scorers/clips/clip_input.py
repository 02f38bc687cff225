"""Converts the clips that scorers receive to decoded frames with their rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.take_frames import take_frames
from diffalign.data.storage.frame_files import FrameFiles
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError, UserError

__all__ = ["Clip", "as_clip"]


def as_clip(sample: Any, *, min_frames: int = 1, scorer: str = "the scorer", rule: FrameRule | None = None) -> Clip:
    """Returns a sample as a clip.

    Args:
        sample: A :class:`~diffalign.data.media.clips.clip.Clip`, a path, encoded bytes, or a handle of a data set.
        min_frames: Frames that the scorer needs.
        scorer: Its name, for messages.
        rule: The frames to take; None for all.

    Raises:
        DataError: The file is missing, is no clip, or has too few frames.
        UserError: The argument is no clip.
    """
    if isinstance(sample, (str, Path, bytes, TableCell, FrameFiles)):
        clip = open_clip(Path(sample) if isinstance(sample, str) else sample, rule)
    elif isinstance(sample, Clip):
        clip = sample if rule is None else take_frames(sample, rule)
    else:
        raise UserError(
            "A clip must be a diffalign.data.media.clips.clip.Clip(frames, fps) with frames (F, H, W, 3) uint8, a path "
            f"or encoded bytes; got {type(sample).__name__}."
        )
    if len(clip) < min_frames:
        name = "a clip" if isinstance(sample, (Clip, bytes)) else f"'{sample}'"
        raise DataError(
            f"{name} has {len(clip)} frame{'s' * (len(clip) != 1)}, and {scorer} needs {min_frames} or more. Leave it "
            "out, or make longer clips."
        )
    return clip

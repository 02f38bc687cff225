"""Clips as pictures of a page: picked frames, smaller frames, two clips in one that play in step, frames in rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from diffalign.data.media.clips.clip import Clip

_PAPER = 255
"""Grey of the ground where clips of two sizes share a picture, and between frames."""
IN_A_ROW = 8
MOST_ROWS = 3
"""Frames beside each other in :func:`rows_of_frames`, and rows of one clip; of a longer clip frames are picked."""


def evenly_spaced(count: int, picks: int) -> list[int]:
    """Returns the frames at the centres of ``picks`` equal parts: floor((k + 1/2) count / picks)."""
    return [(2 * k + 1) * count // (2 * picks) for k in range(picks)]


def with_fewer_frames(clip: Clip, most: int) -> Clip:
    """Returns a clip of at most ``most`` evenly spaced frames that lasts as long."""
    count = len(clip)
    if count <= most:
        return clip
    return Clip(clip.frames[evenly_spaced(count, most)], clip.fps * most / count)


def fitted(clip: Clip, side: int) -> Clip:
    """Returns the clip with its longer side shrunk to ``side`` pixels; a smaller clip is returned as it is."""
    height, width = clip.frames.shape[1:3]
    scale = side / max(height, width)
    if scale >= 1:
        return clip
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return Clip(np.stack([_resized(frame, size) for frame in clip.frames]), clip.fps)


def side_by_side(clips: Sequence[Clip]) -> Clip:
    """Returns one clip with all of them beside each other, which therefore play in step.

    It has the highest of their rates and lasts as long as the longest; a shorter clip holds its last frame. A clip of
    another size lies in the middle of a white field.
    """
    fps = max(clip.fps for clip in clips)
    count = max(math.ceil(len(clip.frames) / clip.fps * fps - 1e-6) for clip in clips)
    height, width = (max(clip.frames.shape[axis] for clip in clips) for axis in (1, 2))
    return Clip(np.concatenate([_padded(_in_time(clip, fps, count), height, width) for clip in clips], axis=2), fps)


def rows_of_frames(clips: Sequence[Clip], side: int = 96) -> Image.Image:
    """Returns a contact sheet: the frames of each clip in rows, in their order, one clip below the other.

    Args:
        clips: At least one.
        side: Pixels of the longer side of a frame; smaller frames are not enlarged.
    """
    picked = [fitted(with_fewer_frames(clip, IN_A_ROW * MOST_ROWS), side).frames for clip in clips]
    columns = min(IN_A_ROW, max(map(len, picked)))
    height, width = (max(frames.shape[axis] for frames in picked) for axis in (1, 2))
    parts: list[np.ndarray] = []
    for frames in picked:
        for start in range(0, len(frames), columns):
            row = _white(height, columns * (width + 2) - 2)
            for k, frame in enumerate(_padded(frames[start : start + columns], height, width)):
                row[:, k * (width + 2) : k * (width + 2) + width] = frame
            parts += [*([_white(2 if start else 6, row.shape[1])] if parts else []), row]
    return Image.fromarray(np.concatenate(parts))


def _white(height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), _PAPER, np.uint8)


def _in_time(clip: Clip, fps: float, count: int) -> np.ndarray:
    """Returns the frames that a viewer sees at the times k / fps."""
    seen = np.floor(np.arange(count) / fps * clip.fps + 1e-6).astype(int)
    return clip.frames[np.minimum(seen, len(clip.frames) - 1)]


def _padded(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    if frames.shape[1:3] == (height, width):
        return frames
    canvas = np.full((len(frames), height, width, 3), _PAPER, np.uint8)
    top, left = (height - frames.shape[1]) // 2, (width - frames.shape[2]) // 2
    canvas[:, top : top + frames.shape[1], left : left + frames.shape[2]] = frames
    return canvas


def _resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))

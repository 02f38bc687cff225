"""Decodes clips that are kept as one picture per frame."""

from __future__ import annotations

import numpy as np

from diffalign.data.media.clips import limits
from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_pixels import resized
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.decode import image_size, open_image
from diffalign.data.storage.frame_files import FrameFiles
from diffalign.errors import DataError


def decode_frames(frames: FrameFiles, rule: FrameRule | None, side: int | None = None) -> Clip:
    """Decodes the frames that the rule chooses.

    Raises:
        DataError: A frame is missing, damaged or of another size than the first; too few, too many or too large.
    """
    name, files, fps = f"'{frames}'", frames.files, frames.fps
    limits.refuse_still(name, rule, len(files))
    limits.refuse_count(name, len(files))
    times, end = [k / fps for k in range(len(files))], len(files) / fps
    limits.refuse_seconds(name, end)
    if rule is not None:
        chosen, fps = rule.choose(times, end), rule.result_fps(times, end)
        limits.refuse_short(name, rule, len(chosen), len(files), end)
        files = tuple(files[index] for index in chosen)
    size = image_size(files[0])
    limits.refuse_size(name, *size)
    width, height = limits.reduced_size(*size, side)
    limits.refuse_bytes(name, len(files), width, height)
    out = np.empty((len(files), height, width, 3), dtype=np.uint8)
    for place, file in enumerate(files):
        if place and file == files[place - 1]:
            out[place] = out[place - 1]
            continue
        picture = open_image(file)
        if picture.size != size:
            raise DataError(
                f"'{file}' has {picture.size[0]} x {picture.size[1]} pixels and the first frame of its clip "
                f"{size[0]} x {size[1]}: the frames of a clip have one size."
            )
        out[place] = np.asarray(resized(picture, (width, height)))
    return Clip(out, fps)

"""Decodes animated pictures (WebP, GIF, PNG) with Pillow; FFmpeg cannot read animated WebP.

Each of these formats merges equal neighbouring frames and adds their durations. So the pictures in a file are not the
frames of the clip: frames are rebuilt from the times, by the rule, by what we wrote into the file, or by the largest
time step of which every duration is a multiple.
"""

from __future__ import annotations

import math
from functools import reduce
from typing import IO

import numpy as np
from PIL import Image

from diffalign.data.media.clips import limits
from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_pixels import resized
from diffalign.data.media.clips.frame_rule import FrameRule, native_fps
from diffalign.data.media.clips.write_clip import stated_clip
from diffalign.data.media.decode import as_shown

FORMATS = ("WEBP", "GIF", "PNG", "AVIF")
TOO_FAST, SHOWN_AS = 10, 100
"""Milliseconds: browsers show a picture whose duration is 10 ms or less for 100 ms."""
MOST_REPEATED = 8
"""Frames per picture of a rebuilt clip; odd durations would need far more."""


def decode_animation(stream: IO[bytes], name: str, rule: FrameRule | None, side: int | None = None) -> Clip:
    """Decodes an animation, keeping only the pictures that the rule chooses.

    Raises:
        DataError: Too large, too long, too short for the rule, or one picture only.
    """
    Image.init()
    with Image.open(stream, formats=[kind for kind in FORMATS if kind in Image.OPEN]) as image:
        limits.refuse_size(name, image.width, image.height)
        limits.refuse_count(name, getattr(image, "n_frames", 1))
        stated = stated_clip(image)
        durations = _durations(image, name, as_shown_by_browsers=stated is None)
        if stated is None:
            limits.refuse_still(name, rule, len(durations))
        pictures, times, end, fps = _frames(durations, stated, name)
        if rule is not None:
            chosen = rule.choose(times, end)
            limits.refuse_short(name, rule, len(chosen), len(times), end)
            fps = rule.result_fps(times, end)
            pictures = [pictures[index] for index in chosen]
        size = limits.reduced_size(image.width, image.height, side)
        limits.refuse_bytes(name, len(pictures), *size)
        return Clip(_decode(image, pictures, size, name), fps)


def _durations(image: Image.Image, name: str, as_shown_by_browsers: bool) -> list[int]:
    """Returns how long each picture is shown, in ms."""
    found = []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        image.load()
        duration = round(float(image.info.get("duration", 0) or 0))
        found.append(SHOWN_AS if as_shown_by_browsers and duration <= TOO_FAST else duration)
    limits.refuse_seconds(name, sum(found) / 1000)
    return found


def _frames(
    durations: list[int], stated: tuple[int, float] | None, name: str
) -> tuple[list[int], list[float], float, float]:
    """Returns the picture of each frame, the frames' times, the end, and frames per second."""
    starts = np.cumsum([0, *durations[:-1]])
    if stated is not None:
        count, fps = stated
        limits.refuse_count(name, count)
        limits.refuse_seconds(name, count / fps)
        times = [k / fps for k in range(count)]
        shown = [int(np.searchsorted(starts, round(1000 * t), side="right")) - 1 for t in times]
        return shown, times, count / fps, fps
    unit = reduce(math.gcd, durations)
    total = sum(durations)
    if total // unit <= MOST_REPEATED * len(durations):
        shown = [index for index, duration in enumerate(durations) for _ in range(duration // unit)]
        return shown, [k * unit / 1000 for k in range(len(shown))], total / 1000, 1000 / unit
    times = [start / 1000 for start in starts.tolist()]
    return list(range(len(durations))), times, total / 1000, native_fps(times, total / 1000)


def _decode(image: Image.Image, pictures: list[int], size: tuple[int, int], name: str) -> np.ndarray:
    width, height = size
    out = np.empty((len(pictures), height, width, 3), dtype=np.uint8)
    last = -1
    for position, index in enumerate(pictures):  # ascending, so that the file is read once
        if index == last:
            out[position] = out[position - 1]
            continue
        image.seek(index)
        image.load()
        out[position] = np.asarray(resized(as_shown(image, name), size))
        last = index
    return out

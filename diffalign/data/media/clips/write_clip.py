"""Writes a clip as one lossless animated WebP that :func:`~diffalign.data.media.clips.open_clip.open_clip` reads back.

The format merges equal neighbouring frames and rounds times to milliseconds, so the number of frames and their rate
stand in the file's own EXIF block, as the description: ``diffalign clip {"frames": 8, "fps": 8.0}``.
"""

from __future__ import annotations

import json
import math
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image

from diffalign.data.media.clips.clip import FASTEST, Clip
from diffalign.files.atomic import write_atomically

DESCRIPTION, MARK = 0x010E, "diffalign clip "
LARGEST_SIDE = 16_383
"""Pixels of a side that the format holds."""


def write_clip(path: Path, clip: Clip) -> Path:
    """Writes a clip to ``path`` (``.webp``), which is always a complete file.

    Raises:
        ValueError: A side has more than 16,383 pixels.
        RunError: The disk is full or the folder cannot be written.
    """
    content = encode_clip(clip)
    return write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


def encode_clip(clip: Clip) -> bytes:
    """Returns the bytes of the file that :func:`write_clip` writes: equal clips give equal bytes."""
    if max(clip.size) > LARGEST_SIDE:
        raise ValueError(f"WebP holds at most {LARGEST_SIDE:,} pixels a side; got {clip.size[0]} x {clip.size[1]}")
    exif = Image.Exif()
    exif[DESCRIPTION] = MARK + json.dumps({"frames": len(clip), "fps": float(clip.fps)})
    first, *others = (Image.fromarray(frame) for frame in clip.frames)
    options: dict[str, Any] = {"save_all": True, "append_images": others, "loop": 0, "exif": exif.tobytes()}
    options["duration"] = durations(len(clip), clip.fps)
    out = BytesIO()
    first.save(out, format="WEBP", lossless=True, exact=True, quality=80, method=4, **options)
    return out.getvalue()


def durations(frames: int, fps: float) -> list[int]:
    """Returns for how many milliseconds each frame of an animation is shown.

    Their borders are rounded, not they themselves, which at 24 fps would lose a hundredth of the time.
    """
    borders = [round(1000 * k / fps) for k in range(frames + 1)]
    return [after - before for before, after in pairwise(borders)]


def stated_clip(image: Image.Image) -> tuple[int, float] | None:
    """Returns the number of frames and their rate that :func:`write_clip` stored; None for other files."""
    if image.format != "WEBP":  # what is written here; of a PNG, EXIF may follow the pixels, which would be decoded
        return None
    text = image.getexif().get(DESCRIPTION)
    if not isinstance(text, str) or not text.startswith(MARK):
        return None
    try:
        stated = json.loads(text[len(MARK) :])
        frames, fps = int(stated["frames"]), float(stated["fps"])
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    return (frames, fps) if frames >= 1 and math.isfinite(fps) and 0 < fps <= FASTEST else None


def stated_in(path: Path) -> tuple[int, float] | None:
    """Returns what :func:`stated_clip` finds in a file, of which no frame is decoded; None where it cannot be read."""
    try:
        with Image.open(path) as image:
            return stated_clip(image)
    except Exception:  # decoders raise exceptions of any type on damaged files
        return None

"""Clips as animated WebP in ``data:`` addresses, which every current browser plays without a script.

Drawings are stored without loss, which for flat colours is also the smallest form: 8 frames of a cartoon of 64 pixels
take 0.7 kB, as GIF 0.9 kB. Photographs are stored at quality 80.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.write_clip import durations

QUALITY = 80
SMALL = 128
"""Pixels of the longer side up to which pictures are stored without loss, as images on a page are."""


def clip_uri(clip: Clip, *, exact: bool) -> str:
    """Returns a clip as an animation that repeats.

    Args:
        clip: The clip.
        exact: Store it without loss, even where that takes more bytes.
    """
    return webp_uri([Image.fromarray(frame) for frame in clip.frames], exact=exact, fps=clip.fps)


def webp_uri(images: Sequence[Image.Image], *, exact: bool, fps: float = 1.0) -> str:
    """Returns images of one size as a WebP's ``data:`` address: without loss if ``exact`` or if that is smaller."""
    lossless = exact or len(_encoded(images[:1], fps, True)) <= len(_encoded(images[:1], fps, False))
    return f"data:image/webp;base64,{base64.b64encode(_encoded(images, fps, lossless)).decode()}"


def _encoded(images: Sequence[Image.Image], fps: float, lossless: bool) -> bytes:
    out = io.BytesIO()
    options = {"save_all": True, "append_images": images[1:], "duration": durations(len(images), fps)}
    images[0].save(
        out, format="WEBP", loop=0, lossless=lossless, quality=QUALITY, **(options if len(images) > 1 else {})
    )
    return out.getvalue()

"""Decodes a sample once, to what every scorer of its medium takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diffalign.data.media.clips.medium_of import medium_of
from diffalign.data.media.decode import media_name
from diffalign.data.records.pair import Media
from diffalign.errors import DataError
from diffalign.evaluation.samples.medium import MEDIA
from diffalign.evaluation.scoring.example import Side
from diffalign.scorers.clips.clip_input import Clip, as_clip
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.texts.text_input import as_answer

MOST_BYTES = 2**28
"""Decoded samples that are in memory at once; a larger batch is handed to the scorers in parts."""
STILL = frozenset((".jpg", ".jpeg", ".bmp"))
"""Endings of pictures that cannot be clips."""


def decode(media: Media, medium: str) -> Any:
    """Returns a sample as scorers of its medium take it: an RGB image, a clip with all its frames, or a text.

    Raises:
        DataError: It cannot be decoded, or is of another medium.
    """
    if medium == "text":
        return as_answer(media) if isinstance(media, Path) else media
    if not (isinstance(media, Path) and media.suffix.lower() in STILL):
        actual = medium_of(media)
        if actual and actual != medium:
            raise DataError(f"{media_name(media)} is no {MEDIA[medium].noun}: it holds {MEDIA[actual].count(1)}.")
    if medium == "video":
        return as_clip(media)
    image = as_rgb(media)
    image.info.clear()  # what it says of turning and colours is done, and not to be done again
    return image


def decoded_parts(sides: Sequence[Side], medium: str) -> Iterator[dict[Side, Any]]:
    """Yields the decoded samples by side, or the sentence that says why one cannot be: a few at a time, in order.

    A sample that occurs under several prompts of a part is decoded once.
    """
    part: dict[Side, Any] = {}
    contents: dict[Media, Any] = {}
    size = 0
    for side in sides:
        media = side[1]
        if media not in contents:
            try:
                contents[media] = decode(media, medium)
            except DataError as error:
                contents[media] = Problem(str(error))
            size += _bytes(contents[media])
        part[side] = contents[media]
        if size >= MOST_BYTES:
            yield part
            part, contents, size = {}, {}, 0
    if part:
        yield part


class Problem(str):
    """Why a sample has no score."""


def _bytes(content: Any) -> int:
    if isinstance(content, Clip):
        return content.frames.nbytes
    return 3 * content.width * content.height if hasattr(content, "width") else 0

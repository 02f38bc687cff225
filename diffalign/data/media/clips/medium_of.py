"""What a candidate is: a text, an image, or a clip, by its content where its name does not say it."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from diffalign.data.media.clips.open_clip import is_picture
from diffalign.data.media.clips.write_clip import stated_clip
from diffalign.data.media.decode import media_bytes
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Media
from diffalign.data.records.to_sample import ToSample
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.frame_files import is_in_frames
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.errors import DataError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv")
)
_VIDEO_MARKS = ((0, b"\x1aE\xdf\xa3"), (4, b"ftyp"), (8, b"AVI "))
"""Where Matroska and WebM, MP4 and MOV, and AVI say what they are."""

_ANIMATED = 0x02
"""Bit of an extended WebP's flags."""


def medium_of(media: Media) -> str:
    """Returns ``"text"``, ``"image"`` or ``"video"``; "" for tensors, and for what cannot be read.

    Only headers are read. A picture is a clip where it has several frames, or where it says that it is one.
    """
    if isinstance(media, (str, Conversation)):
        return "text"
    if is_in_frames(media):
        return "video"
    if isinstance(media, (CachedCandidate, KeptLatent, ToSample)):
        return ""
    if isinstance(media, Path) and media.suffix.lower() in VIDEO_SUFFIXES:
        return "video"
    try:
        with media.open("rb") if isinstance(media, Path) else io.BytesIO(media_bytes(media)) as stream:
            head = stream.read(64)
            stream.seek(0)
            if _says_animated(head):  # also of a file that is too large or damaged to be opened
                return "video"
            if not is_picture(head):
                return "video" if any(head[at:].startswith(mark) for at, mark in _VIDEO_MARKS) else "image"
            with Image.open(stream) as image:
                return "video" if getattr(image, "n_frames", 1) > 1 or stated_clip(image) else "image"
    except (DataError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return ""
    except Exception:  # decoders raise exceptions of any type on damaged files
        return "image" if not isinstance(media, Path) or media.is_file() else ""


def _says_animated(head: bytes) -> bool:
    """Returns whether the first bytes are those of a WebP whose header says that it is animated."""
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and bool(head[20:21]) and bool(head[20] & _ANIMATED)

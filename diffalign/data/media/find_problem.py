"""Finds what is wrong with a candidate before a model meets it: an image is decoded, and a video must not be empty."""

from __future__ import annotations

from pathlib import Path

from diffalign.data.media.decode import media_bytes, media_name, open_image
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Media
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.errors import DataError

VIDEO_SUFFIXES = frozenset(
    (".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv")
)
_WEBM, _FTYP, _IMAGE_BRANDS = b"\x1aE\xdf\xa3", b"ftyp", (b"avif", b"avis", b"mif1", b"heic")


def find_problem(media: Media) -> str:
    """Returns why a candidate cannot be decoded, as a sentence; ``""`` for a sound one, for a text and for tensors."""
    if isinstance(media, (str, Conversation, CachedCandidate, KeptLatent)):
        return ""
    try:
        content = media_bytes(media)
        if _is_video(media, content):
            return "" if content else f"{media_name(media)} is empty."
        open_image(media)
    except DataError as error:
        return str(error)
    return ""


def _is_video(media: Media, content: bytes) -> bool:
    if isinstance(media, Path) and media.suffix.lower() in VIDEO_SUFFIXES:
        return True
    return content.startswith(_WEBM) or content[4:8] == _FTYP and content[8:12] not in _IMAGE_BRANDS

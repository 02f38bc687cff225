"""Cells that name a file: how a name differs from a text, and which local file an address means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from diffalign.data.media.clips.medium_of import VIDEO_SUFFIXES
from diffalign.data.storage.frame_files import is_frame_folder
from diffalign.data.storage.inside_folder import inside
from diffalign.files.text_files import is_file

IMAGE_SUFFIXES = frozenset(
    (
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
    )
    + (".pbm", ".pnm", ".avif", ".jxl", ".jp2", ".heic", ".heif", ".svg", ".tga", ".ico", ".psd", ".exr", ".hdr")
)
"""Endings of image files. Not all of them can be decoded, but none of them is a text to be trained on."""
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
_LONGEST = 1024
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+|data:(image|video)/\S+", re.IGNORECASE)


def are_file_names(texts: Iterable[str], folder: Path) -> bool:
    """Returns whether there are texts, and each one is an address, a name of an image or video, or the name of a file
    in ``folder`` with any ending.
    """
    answers = [_is_file_name(text, folder) for text in texts]
    return bool(answers) and all(answers)


def local_name(name: str) -> str:
    """Returns the path that a ``file:`` address means, and any other name unchanged."""
    return unquote(urlsplit(name).path) if name.lower().startswith("file:") else name


def without_query(name: str) -> str:
    """Returns a name without what an address may have after the path: ``?w=512`` or ``#top``."""
    return unquote(name.partition("#")[0].partition("?")[0])


def is_media_name(text: str) -> bool:
    """Returns whether a text is, by its look alone, the name or the address of an image or a video: one without spaces
    that has an ending of theirs.
    """
    return len(text) < _LONGEST and len(text.split()) == 1 and _has_media_suffix(text.strip())


def _has_media_suffix(text: str) -> bool:
    return bool({Path(text).suffix.lower(), Path(without_query(text)).suffix.lower()} & MEDIA_SUFFIXES)


def _is_file_name(text: str, folder: Path) -> bool:
    if _ADDRESS.fullmatch(text):
        return True
    if not text.strip() or len(text) >= _LONGEST or "\n" in text:
        return False
    if _has_media_suffix(text):
        return True
    path = inside(folder, local_name(text))
    return path is not None and (is_file(path) or is_frame_folder(path))

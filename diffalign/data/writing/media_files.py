"""Files: images and clips by the names that a table writes, and put beside it where they lie elsewhere."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from diffalign.data.readers.parse_row import MEDIA_SUFFIXES
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.table_cell import TableCell
from diffalign.errors import DataError
from diffalign.sharing.atomic import write_atomically

FILES = "files"
"""Folder beside a table for the images and clips that lie elsewhere."""

_BEGINNINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"BM": ".bmp", b"\x1aE\xdf\xa3": ".webm"}
_INSIDE = {b"WEBP": (8, ".webp"), b"ftypavif": (4, ".avif"), b"ftyp": (4, ".mp4")}


class MediaFiles:
    """Names of images and clips as a table in ``folder`` writes them; what lies elsewhere is put into ``files/``.

    Args:
        folder: Where the table lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.abspath(folder)
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def name(self, media: Path | bytes | TableCell | CachedCandidate) -> str:
        """The name, ``/`` between its parts. Raises DataError for a candidate that is no file and no bytes."""
        if isinstance(media, CachedCandidate):
            raise DataError(f"{media} are tensors of a run, which only its policy reads; they cannot be written.")
        if isinstance(media, (bytes, TableCell)):
            data = media if isinstance(media, bytes) else media.read()
            return self._put(hashlib.blake2b(data, digest_size=12).hexdigest() + suffix_of(data), data)
        path = os.path.abspath(media)
        known = os.path.splitext(path)[1].lower() in MEDIA_SUFFIXES
        if known and path.startswith(self._folder.rstrip(os.sep) + os.sep):
            return Path(os.path.relpath(path, self._folder)).as_posix()
        if path not in self._names:
            with open(path, "rb") as file:
                suffix = os.path.splitext(path)[1] if known else suffix_of(file.read(16))
            self._names[path] = self._link(os.path.realpath(path), Path(path).stem, suffix)
        return self._names[path]

    def _put(self, name: str, data: bytes) -> str:
        place = Path(self._folder, FILES, name)
        if not place.exists():
            write_atomically(place, lambda beside: beside.write_bytes(data))
        return f"{FILES}/{name}"

    def _link(self, path: str, stem: str, suffix: str) -> str:
        number = 1
        while True:
            name = f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
            place = Path(self._folder, FILES, name)
            if name not in self._taken:
                if not place.exists():
                    break
                if os.path.samefile(path, place) or filecmp.cmp(path, place, shallow=False):
                    self._taken.add(name)
                    return f"{FILES}/{name}"
            number += 1
        self._taken.add(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another disk, or one without links
            os.link(path, place)
        if not place.exists():
            write_atomically(place, lambda beside: shutil.copyfile(path, beside))
        return f"{FILES}/{name}"


def suffix_of(data: bytes) -> str:
    """What the first bytes of an image or clip say that it is; ``.png`` where they say nothing."""
    for mark, suffix in _BEGINNINGS.items():
        if data.startswith(mark):
            return suffix
    for mark, (place, suffix) in _INSIDE.items():
        if data[place : place + len(mark)] == mark:
            return suffix
    return ".png"

"""Names images and videos for a table, and links or copies them next to it where they lie elsewhere."""

from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
from contextlib import suppress
from pathlib import Path

from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.write_clip import encode_clip
from diffalign.data.readers.file_names import MEDIA_SUFFIXES
from diffalign.data.records.to_sample import ToSample
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.frame_files import FrameFiles, is_in_frames
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError
from diffalign.files.atomic import write_atomically

FILES = "files"
"""Folder next to a table for images and videos that lie elsewhere."""

_FIRST_BYTES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"BM": ".bmp", b"\x1aE\xdf\xa3": ".webm"}
_BYTES_AT = {b"WEBP": (8, ".webp"), b"ftypavif": (4, ".avif"), b"ftyp": (4, ".mp4")}


class MediaFiles:
    """Names images and videos for a table in ``folder``. Files that lie elsewhere are put into ``files/``.

    Args:
        folder: The table's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.abspath(folder)
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def name(self, media: Path | bytes | TableCell | FrameFiles | CachedCandidate | KeptLatent | ToSample) -> str:
        """Returns the name, with ``/`` between its parts: of a kept latent that of its image. A clip that is kept as
        frames is written as one file without loss. Raises DataError for a candidate that is tensors only.
        """
        if isinstance(media, KeptLatent):
            media = media.image
        if isinstance(media, ToSample):
            raise DataError(f"{media} does not exist yet; it cannot be written.")
        if isinstance(media, CachedCandidate):
            raise DataError(f"{media} are tensors of a run, which only its policy reads; they cannot be written.")
        if is_in_frames(media):
            media = encode_clip(open_clip(media))
        if isinstance(media, (bytes, TableCell)):
            data = media if isinstance(media, bytes) else media.read()
            return self._write(hashlib.blake2b(data, digest_size=12).hexdigest() + suffix_of(data), data)
        path = os.path.abspath(str(media))
        has_media_suffix = os.path.splitext(path)[1].lower() in MEDIA_SUFFIXES
        if has_media_suffix and path.startswith(self._folder.rstrip(os.sep) + os.sep):
            return Path(os.path.relpath(path, self._folder)).as_posix()
        if path not in self._names:
            with open(path, "rb") as file:
                suffix = os.path.splitext(path)[1] if has_media_suffix else suffix_of(file.read(16))
            self._names[path] = self._link(os.path.realpath(path), Path(path).stem, suffix)
        return self._names[path]

    def _write(self, name: str, data: bytes) -> str:
        target = Path(self._folder, FILES, name)
        if not target.exists():
            write_atomically(target, lambda temporary: temporary.write_bytes(data))
        return f"{FILES}/{name}"

    def _link(self, path: str, stem: str, suffix: str) -> str:
        number = 1
        while True:
            name = f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
            target = Path(self._folder, FILES, name)
            if name not in self._taken:
                if not target.exists():
                    break
                if os.path.samefile(path, target) or filecmp.cmp(path, target, shallow=False):
                    self._taken.add(name)
                    return f"{FILES}/{name}"
            number += 1
        self._taken.add(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another disk, or one without links
            os.link(path, target)
        if not target.exists():
            write_atomically(target, lambda temporary: shutil.copyfile(path, temporary))
        return f"{FILES}/{name}"


def suffix_of(data: bytes) -> str:
    """Returns the suffix of an image or video by its first bytes; ``.png`` where the format is unknown."""
    for signature, suffix in _FIRST_BYTES.items():
        if data.startswith(signature):
            return suffix
    for signature, (offset, suffix) in _BYTES_AT.items():
        if data[offset : offset + len(signature)] == signature:
            return suffix
    return ".png"

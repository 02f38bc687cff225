"""Handles of clips that are kept as one picture per frame: a folder, or some of its files in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diffalign.errors import DataError

ASSUMED_FPS = 8.0
"""Frames per second of frames that come without a rate, as most published frame sets do."""
SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"))
MOST = 20_000


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """A clip whose frames are files.

    Args:
        files: The frames in their order.
        fps: Frames per second.
        folder: The folder of which they are all, for messages; None for chosen files.
    """

    files: tuple[Path, ...]
    fps: float = ASSUMED_FPS
    folder: Path | None = None

    def __str__(self) -> str:
        if self.folder is not None:
            return str(self.folder)
        return f"{self.files[0]} and {len(self.files) - 1} more frames" if self.files else "a clip without frames"


def is_in_frames(media: object) -> bool:
    """Returns whether a candidate is a clip that is kept as one picture per frame: a handle, or a folder."""
    return isinstance(media, FrameFiles) or isinstance(media, Path) and media.is_dir()


def is_frame_folder(path: Path) -> bool:
    """Returns whether a path is a folder with pictures in it."""
    try:
        return path.is_dir() and any(_is_frame(file) for file in path.iterdir())
    except (OSError, ValueError):
        return False


def frames_of(given: Path | Sequence[Path], fps: float = ASSUMED_FPS) -> FrameFiles:
    """Returns the frames of a folder in the order of the numbers in their names, or of listed files as they stand.

    Raises:
        DataError: There is no such folder, it holds no pictures, or too many.
    """
    if not isinstance(given, Path):
        return FrameFiles(tuple(given), fps)
    try:
        files = [file for file in given.iterdir() if _is_frame(file)]
    except OSError as error:
        raise DataError(f"cannot read the folder '{given}': {error.strerror}.") from error
    if not files:
        raise DataError(f"the folder '{given}' holds no frames: one picture per frame was expected (0000.png, ...).")
    if len(files) > MOST:
        raise DataError(f"the folder '{given}' has more than {MOST:,} frames, which is not a clip.")
    return FrameFiles(tuple(sorted(files, key=_by_numbers)), fps, given)


def _is_frame(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _by_numbers(file: Path) -> list[tuple[int, int, str]]:
    """Sorts frame 2 before frame 10, whether or not numbers are padded with zeros."""
    parts = re.split(r"(\d+)", file.name)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]

"""Limits on what a clip may claim or hold, so that a small file cannot expand into all memory or run for hours."""

from __future__ import annotations

from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.errors import DataError

MAX_PIXELS = 36_000_000
"""Pixels of a frame: 8K is 33 million."""
MAX_SECONDS = 600.0
MAX_FRAMES = 20_000
"""Frames that are decoded of one file, whatever its header says."""
MAX_BYTES = 2 * 2**30
"""Bytes of the frames that are kept."""


def refuse_size(name: str, width: int, height: int) -> None:
    """Raises DataError for frames that are too large."""
    if width * height > MAX_PIXELS:
        raise DataError(f"{name} claims frames of {width} x {height} pixels, more than the {MAX_PIXELS:,} allowed.")


def refuse_seconds(name: str, seconds: float) -> None:
    """Raises DataError for a video that is too long."""
    if seconds > MAX_SECONDS:
        raise DataError(f"{name} lasts {seconds:.0f} seconds, more than the {MAX_SECONDS:.0f} allowed: cut it first.")


def refuse_count(name: str, count: int) -> None:
    """Raises DataError for more frames than are decoded."""
    if count > MAX_FRAMES:
        raise DataError(f"{name} has more than {MAX_FRAMES:,} frames, which is not a clip: cut it first.")


def refuse_bytes(name: str, count: int, width: int, height: int) -> None:
    """Raises DataError where the frames that would be kept do not fit."""
    if (needed := count * width * height * 3) > MAX_BYTES:
        raise DataError(
            f"{name} decodes to {needed / 2**30:.1f} GiB ({count} frames of {width} x {height}), more than "
            f"{MAX_BYTES / 2**30:.0f} GiB: choose fewer of its frames (model.clip.frames), or make it smaller."
        )


def refuse_short(name: str, rule: FrameRule, found: int, total: int, seconds: float) -> None:
    """Raises DataError where a rule found fewer frames than it needs."""
    if found < rule.frames:
        raise DataError(
            f"{name} is too short: {total} frames in {seconds:.2f} seconds give {found} of {rule.frames} "
            f"({rule.identity}). Take fewer frames, or hold the last one (model.clip.short: hold)."
        )


def refuse_still(name: str, rule: FrameRule | None, count: int) -> None:
    """Raises DataError for a file of one picture where a clip was expected."""
    if count < 2 and (rule is None or rule.frames > 1):
        raise DataError(f"{name} holds one picture; a clip has at least two frames.")


def unreadable(name: str, reason: str) -> DataError:
    """Returns the error of a file that cannot be decoded."""
    return DataError(f"{name} cannot be decoded: {reason.rstrip('.')}. Replace the file or drop the pair.")


def reduced_size(width: int, height: int, side: int | None) -> tuple[int, int]:
    """Returns width and height of a frame whose short side is reduced to ``side`` pixels; never enlarged."""
    if side is None or min(width, height) <= side:
        return width, height
    scale = side / min(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))

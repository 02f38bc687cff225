"""Examples that are clips as HTML that fits into one page: at most 24 clips and 12 MB.

Base and aligned clip of a seed are one picture, so they play in step. Where the clips of a page take more, they are
shrunk to 192 pixels, and after that to eight frames, which always fits: 12 pairs of noise take 8 MB. The page says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from diffalign.data.media.clips.clip import Clip
from diffalign.evaluation.report.sheet import Example
from diffalign.evaluation.samples.show_clips import LARGEST, show_together
from diffalign.scorers.clips.clip_input import as_clip

MOST_CLIPS, MOST_BYTES = 24, 12_000_000
"""Clips of a page, and bytes of their HTML."""
_FORMS: tuple[tuple[int, int | None, str], ...] = (
    (LARGEST, None, ""),
    (192, None, "Clips are shrunk to 192 pixels to keep the page small."),
    (192, 8, "Clips are shrunk to 192 pixels and 8 frames to keep the page small."),
)
"""Pixels of the longer side, number of frames, and what the page says, until the clips fit."""


@dataclass(frozen=True)
class ClipExample:
    """An example as HTML.

    Args:
        example: Its prompt and its note.
        pictures: HTML, one picture per seed.
    """

    example: Example
    pictures: tuple[str, ...]


def clip_examples(shown: Sequence[Example], most_bytes: int = MOST_BYTES) -> tuple[list[ClipExample], list[str]]:
    """Returns the examples that fit into a page, and what the page says about the others and about smaller clips."""
    kept = _within_count(shown)
    left_out = sum(_clips(example) for example in shown) - sum(_clips(example) for example in kept)
    notes = [f"{left_out} more clips are left out: a page shows {MOST_CLIPS}."] if left_out else []
    *forms, smallest = _FORMS
    for side, frames, note in forms:
        result = _rendered(kept, side, frames, most_bytes)
        if result is not None:
            return result, [*notes, note] if note else notes
    side, frames, note = smallest
    return _rendered(kept, side, frames) or [], [*notes, note]


def _clips(example: Example) -> int:
    return len(example.base) + len(example.aligned)


def _within_count(shown: Sequence[Example]) -> list[Example]:
    """Returns the first examples with at most :data:`MOST_CLIPS` clips, the last one perhaps with fewer seeds."""
    kept, room = [], MOST_CLIPS
    for example in shown:
        sides = bool(example.base) + bool(example.aligned)
        seeds = room // max(sides, 1)
        part = replace(example, base=example.base[:seeds], aligned=example.aligned[:seeds])
        if not _clips(part):
            break
        kept.append(part)
        room -= _clips(part)
    return kept


def _rendered(
    shown: Sequence[Example], side: int, frames: int | None, most_bytes: float = math.inf
) -> list[ClipExample] | None:
    """Returns the HTML of the examples in one form; None as soon as it takes more bytes."""
    result, size = [], 0
    for example in shown:
        pictures = [show_together(clips, label, side=side, frames=frames) for clips, label in _pairs(example)]
        result.append(ClipExample(example, tuple(pictures)))
        size += sum(map(len, pictures))
        if size > most_bytes:
            return None
    return result


def _pairs(example: Example) -> list[tuple[list[Clip], str]]:
    """Returns the clips of each seed with what their picture shows."""
    sides = [("before", example.base), ("after", example.aligned)]
    result = []
    for k in range(max(len(example.base), len(example.aligned))):
        here = [(word, as_clip(clips[k])) for word, clips in sides if k < len(clips)]
        result.append(([clip for _, clip in here], f"{' and '.join(word for word, _ in here)}: {example.prompt}"))
    return result

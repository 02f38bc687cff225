"""HTML of clips: a moving picture, its frames as a still for reduced motion and print.

    <div class="clip"><picture><source media="(prefers-reduced-motion: reduce)" srcset="frames"><img src="animation">
    </picture><img class="still" src="frames"></div>

A page's style shows ``still`` instead of ``picture`` in print and when a reader stops the clips. Text from outside is
escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffalign.data.media.clips.clip import Clip
from diffalign.evaluation.samples.clip_frames import fitted, rows_of_frames, side_by_side, with_fewer_frames
from diffalign.evaluation.samples.clip_webp import SMALL, clip_uri, webp_uri
from diffalign.scorers.clips.clip_input import as_clip

LARGEST = 384
"""Pixels of the longer side of a clip on a page."""

_HTML = (
    '<div class="clip"><picture><source media="(prefers-reduced-motion: reduce)" srcset="{still}">'
    '<img src="{moving}" alt="{label}; {facts}"></picture>'
    '<img class="still" src="{still}" alt="frames of {label}; {facts}"></div>'
)


def show_clip(content: Any, label: str) -> str:
    """Returns the HTML of one clip; ``content`` is a clip or its file."""
    return show_together([as_clip(content)], label)


def show_together(clips: Sequence[Clip], label: str, *, side: int = LARGEST, frames: int | None = None) -> str:
    """Returns the HTML of clips in one picture, beside each other and in step.

    Args:
        clips: At least one; base and aligned, for example.
        label: What they show, for those who cannot see them; their number of frames and rate are added.
        side: Pixels of the longer side of each; larger clips are shrunk.
        frames: Largest number of frames; None for all.
    """
    from markupsafe import Markup

    shown = [fitted(clip, side) for clip in clips]
    moving = side_by_side([clip if frames is None else with_fewer_frames(clip, frames) for clip in shown])
    still = rows_of_frames(shown)
    is_small = frames is None and max(max(clip.frames.shape[1:3]) for clip in shown) <= SMALL
    return Markup(_HTML).format(
        moving=clip_uri(moving, exact=is_small),
        still=webp_uri([still], exact=False),
        label=label,
        facts=" and ".join(dict.fromkeys(f"{len(clip.frames)} frames at {clip.fps:g} fps" for clip in clips)),
    )

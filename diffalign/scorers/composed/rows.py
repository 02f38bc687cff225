"""The scorers that are made of other scorers, one row each."""

from __future__ import annotations

from collections.abc import Callable

from diffalign.scorers.composed.frame_mean import FrameMean
from diffalign.scorers.scorer import Scorer, ScorerEntry


def composed_scorers(load_scorer: Callable[[str, str], Scorer]) -> dict[str, ScorerEntry]:
    """Returns the rows.

    Args:
        load_scorer: Loads the scorers inside by name and device.
    """
    return {
        "frames": ScorerEntry(
            lambda argument, device: FrameMean.load(argument, device, load_scorer),
            "a scorer of images with its own argument, as in frames:clip:FOLDER",
            "a scorer of images on every frame, averaged: blind to the frames' order",
            medium="video",
        ),
    }

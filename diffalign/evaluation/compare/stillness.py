"""A caution for clips: scores that prefer still clips rose while the motion fell."""

from __future__ import annotations

from collections.abc import Mapping

from diffalign.evaluation.stats.rates.share import percent
from diffalign.scorers import MOTION, STILLNESS

MIN_MOTION_LOSS = 0.05
"""Smallest relative loss of motion that is mentioned."""


def stillness_cautions(means: Mapping[str, tuple[float, float]]) -> list[str]:
    """Returns a sentence for each measure of motion that fell while a score that prefers still clips rose.

    Args:
        means: By scorer its mean before and after. The kind of a scorer is the part of its name before the colon.
    """
    steadier = [name for name, (before, after) in means.items() if _kind(name) in STILLNESS and after > before]
    moving = {name: both for name, both in means.items() if _kind(name) in MOTION}
    return [
        f"{' and '.join(steadier)} rose while {name} fell by {percent(1 - after / before)}, from {before:.3g} to "
        f"{after:.3g}: the clips may be steadier only because less moves in them. Compare clips that move as much, or "
        "train on pairs whose chosen clips move as much as the rejected ones."
        for name, (before, after) in moving.items()
        if steadier and after < (1 - MIN_MOTION_LOSS) * before
    ]


def _kind(name: str) -> str:
    return name.partition(":")[0]

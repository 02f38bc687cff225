"""The two scores that a score-scaled label maps to 0 and 1: of the data at hand, as a recipe gives them, or published.

The published ones are PickScore's smallest and largest on Pick-a-Pic v2, written into SmPO's released script. They are
bare cosines of image and prompt. A table of scores may hold the cosine, or the model's logit, 100 times as large
(`pickscore`); which of the two has to be said, because a range in the other unit would clamp every score to one end.

Source: Lu et al. 2025, SmPO-Diffusion (arXiv 2506.02698), released training script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError, near_miss

PICKSCORE_COSINES = (0.11543526500463486, 0.28201571106910706)
"""Smallest and largest bare cosine of PickScore v1 on Pick-a-Pic v2."""

PublishedRange = Literal["cosine", "logit"]
LOGIT_SCALE: Mapping[str, float] = {"cosine": 1.0, "logit": 100.0}
"""Unit to its size of a cosine of 1: the logit scale of PickScore v1 is 100."""


def published_range(unit: PublishedRange) -> tuple[float, float]:
    """Returns ``(low, high)`` of PickScore in a unit."""
    low, high = PICKSCORE_COSINES
    return low * LOGIT_SCALE[unit], high * LOGIT_SCALE[unit]


def check_unit(pair: Pair, scores: Sequence[float], scorer: str, unit: PublishedRange) -> None:
    """Raises DataError where a pair's scores cannot be in the unit.

    A cosine lies in [-1, 1], and a cosine as a logit in [-100, 100]. Two logits within [-1, 1] are cosines within 0.01
    of 0, a tenth of the smallest that was published: they are taken for bare cosines.
    """
    largest = max(map(abs, scores))
    if largest > LOGIT_SCALE[unit]:
        instead = (
            "For the logits of the scorer 'pickscore' type: --set labels.published_range=logit"
            if unit == "cosine" and largest <= LOGIT_SCALE["logit"]
            else "For scores of another scorer type: --set labels.published_range=null"
        )
        raise DataError(
            f"{pair.source or pair.id}: the score {largest:g} by '{scorer}' is no {_NAMES[unit]}, which labels."
            f"published_range={unit} normalises. {instead}"
        )
    if unit == "logit" and largest <= LOGIT_SCALE["cosine"]:
        raise DataError(
            f"{pair.source or pair.id}: the scores {scores[0]:g} and {scores[1]:g} by '{scorer}' are bare cosines, but "
            "labels.published_range=logit normalises cosines times 100. Type: --set labels.published_range=cosine"
        )


_NAMES = {"cosine": "bare cosine in [-1, 1]", "logit": "cosine times 100"}


def range_of(
    scorer: str, low: float | None, high: float | None, ranges: Mapping[str, tuple[float, float]], command: str
) -> tuple[float, float]:
    """Returns ``(low, high)``: each as set, otherwise that of the data.

    Args:
        scorer: The scorer.
        low, high: As the recipe sets them; None: of the data.
        ranges: ``{scorer: (low, high)}`` of the data.
        command: A sentence that says how scores are made.

    Raises:
        DataError: The range is not known, or it has no extent.
    """
    stored = ranges.get(scorer, (None, None))
    low, high = stored[0] if low is None else low, stored[1] if high is None else high
    if low is None or high is None:
        available = f" Ranges are known of {', '.join(ranges)}.{near_miss(scorer, ranges)}" if ranges else ""
        raise DataError(
            f"the smallest and largest score by '{scorer}' are not known.{available} {command} Or set both: "
            "labels: {name: score_scaled, low: ..., high: ...}"
        )
    if not low < high:
        raise DataError(
            f"scores by '{scorer}' are scaled from [low, high] to [0, 1], but low is {low} and high is {high}. Equal "
            "scores rank nothing: choose another scorer."
        )
    return low, high

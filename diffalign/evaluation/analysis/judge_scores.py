"""The scores of a comparison as arrays: of one judge the base's and the aligned model's, position by position."""

from __future__ import annotations

import math

import numpy as np

from diffalign.evaluation.compare.result import Comparison


def judge_scores(comparison: Comparison, judge: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores of base and aligned samples, ``(N,)`` each, in the order of the rows; nan on both sides of a
    comparison with a score that is missing or not finite.
    """
    pairs = [row["scores"].get(judge, (None, None)) for row in comparison.rows]
    scores = np.array([[math.nan if value is None else value for value in pair] for pair in pairs], float)
    scores[~np.isfinite(scores).all(1)] = math.nan
    return scores[:, 0], scores[:, 1]


def row_prompts(comparison: Comparison) -> list[str]:
    """Returns the prompt of each row."""
    return [row["prompt"] for row in comparison.rows]

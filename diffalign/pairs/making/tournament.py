"""Tournaments: answers meet in rounds and winners advance, so n answers need n - 1 comparisons.

Source: Liu et al. 2023 (arXiv 2309.06657), section 3.2, tournament ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Match = tuple[int, int]


def play_tournament(
    count: int, play: Callable[[Sequence[Match]], Sequence[float]], random: np.random.Generator
) -> list[Match]:
    """Returns the matches as ``(winner, loser)``, round by round.

    Args:
        count: Number of answers.
        play: Returns for the matches of a round the probability that the first of each wins; at a half it advances.
        random: Draws the order in which the answers stand. With an odd number the last one advances.
    """
    standing = random.permutation(count).tolist()
    results: list[Match] = []
    while len(standing) > 1:
        matches = list(zip(standing[::2], standing[1::2], strict=False))
        decided = [
            (i, j) if probability >= 0.5 else (j, i) for (i, j), probability in zip(matches, play(matches), strict=True)
        ]
        results += decided
        standing = [winner for winner, _ in decided] + standing[2 * len(matches) :]
    return results

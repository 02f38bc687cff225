"""The bootstrap over prompts: an interval that respects that samples of one prompt are not independent.

    ratio = sum over prompts of sums_p / sum over prompts of sizes_p

Whole prompts are drawn with replacement, as many as there are, and the interval lies between two quantiles of the
ratios of all draws. With few prompts (below about 20) it is too narrow.

Source: the percentile bootstrap of Efron 1979 (Annals of Statistics 7), by clusters as in Davison and Hinkley 1997,
section 3.8.
"""

from __future__ import annotations

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95
BLOCK = 2**22
"""Numbers drawn at once, so that memory does not grow with the number of prompts."""


def bootstrap_over_prompts(
    sums: np.ndarray, sizes: np.ndarray, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float]:
    """Returns the percentile interval of the ratio of sums.

    Args:
        sums: ``(P,)``, by prompt the sum of what is averaged: wins with ties as a half, differences of scores, ...
        sizes: ``(P,)``, by prompt the number of samples.
        seed: Seed of the draws.
        resamples: Number of draws.
        level: Rate at which the interval covers the true ratio.
    """
    rng, chances = np.random.default_rng(seed), np.full(len(sums), 1 / len(sums))
    rates, block = [], max(1, BLOCK // len(sums))
    for start in range(0, resamples, block):
        times = rng.multinomial(len(sums), chances, min(block, resamples - start))  # how often each prompt is drawn
        rates.append((times @ sums) / (times @ sizes))
    low, high = np.quantile(np.concatenate(rates), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

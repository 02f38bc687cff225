"""Paired statistics: how often the aligned sample beats the base's, with interval and p-value.

    rate = (wins + ties / 2) / n            over pairs that share prompt and seed

Samples of one prompt are not independent, so with several per prompt the interval comes from resampling prompts.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffalign.errors import UserError

Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class Share:
    """A share of ``n`` with its 95 % Wilson interval; all nan if ``n`` is 0."""

    rate: float
    low: float
    high: float
    hits: float
    n: int


@dataclass(frozen=True)
class WinRate:
    """How often the first of a pair scores higher.

    Args:
        rate: (wins + ties / 2) / comparisons, in [0, 1]; 0.5 means no difference.
        low, high: 95 % interval of the rate.
        wins, losses, ties: Counts of comparisons.
        p_value: Two-sided sign test against 0.5, ties left out; over prompts if prompts have several comparisons.
        prompts: Number of prompts.
        interval: Method of the interval.
        excluded: Comparisons left out because a score was not finite.
    """

    rate: float
    low: float
    high: float
    wins: int
    losses: int
    ties: int
    p_value: float
    prompts: int
    interval: str
    excluded: int = 0

    @property
    def comparisons(self) -> int:
        """Number of comparisons that count."""
        return self.wins + self.losses + self.ties


def percent(value: float) -> str:
    """Returns for example ``"64 %"``; a dash for nan."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else "–"


def share(hits: float, n: int) -> Share:
    """Returns the share ``hits / n`` with its 95 % Wilson interval.

        centre = (p + z^2 / 2n) / (1 + z^2 / n),    half width = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n)

    Source: Wilson 1927, JASA 22; unlike the usual normal interval it stays in [0, 1] and has a width at 0 and n hits.
    """
    if n == 0:
        return Share(math.nan, math.nan, math.nan, hits, n)
    p, z2 = hits / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and n hits the formula's bound is exactly 0 or 1, except for rounding.
    return Share(
        p, 0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == n else min(1.0, centre + half), hits, n
    )


def win_rate(
    first: Sequence[float], second: Sequence[float], prompts: Sequence[Hashable] | None = None, *, seed: int = 0
) -> WinRate:
    """Computes the paired win rate of ``first`` over ``second``.

    Args:
        first, second: Scores, ``(N,)`` each, higher is better; position i of both shares prompt and seed.
        prompts: ``(N,)``, the prompt of each comparison; ``None`` if all are distinct.
        seed: Seed of the bootstrap.

    Returns:
        The interval is Wilson's with one comparison per prompt. With several it is a percentile bootstrap over prompts
        (2,000 resamples); if all prompts have the same rate, it is Wilson's with prompts as the sample size.

    Raises:
        UserError: The lengths differ, or no comparison has two finite scores.
    """
    a, b = np.asarray(first, np.float64).reshape(-1), np.asarray(second, np.float64).reshape(-1)
    groups = list(range(len(a))) if prompts is None else list(prompts)
    if not len(a) == len(b) == len(groups):
        raise UserError(
            f"A paired win rate needs equally many scores on both sides and a prompt for each; got {len(a)}, {len(b)} "
            f"and {len(groups)}. Compare the same prompts and seeds."
        )
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.any():
        raise UserError(
            f"None of {len(a)} comparisons has two finite scores. "
            "Check the scorer: nan in its weights or features gives nan scores."
        )
    prompt_numbers: dict[Any, int] = {}
    kept = [group for group, keep in zip(groups, finite, strict=True) if keep]
    cluster = np.array([prompt_numbers.setdefault(group, len(prompt_numbers)) for group in kept])
    outcome = (np.sign(a - b)[finite] + 1) / 2
    wins, losses, ties = (int((outcome == value).sum()) for value in (1.0, 0.0, 0.5))
    n, count = len(outcome), len(prompt_numbers)
    sizes, sums = np.bincount(cluster), np.bincount(cluster, outcome)
    if count == n:
        interval, method = share(float(outcome.sum()), n), "Wilson"
    elif np.ptp(sums / sizes) == 0 and np.ptp(sizes) == 0:
        interval, method = share(float((sums / sizes).sum()), count), "Wilson over prompts"
    else:
        interval, method = _bootstrap(sums, sizes, seed), "bootstrap over prompts"
    means = sums / sizes
    return WinRate(
        rate=float(outcome.mean()),
        low=interval.low,
        high=interval.high,
        wins=wins,
        losses=losses,
        ties=ties,
        p_value=sign_test(int((means > 0.5).sum()), int((means < 0.5).sum())),
        prompts=count,
        interval=method,
        excluded=int((~finite).sum()),
    )


def _bootstrap(sums: np.ndarray, sizes: np.ndarray, seed: int, resamples: int = 2000) -> Share:
    """Returns the percentile interval of the ratio of sums, with whole prompts drawn with replacement."""
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), resamples)  # how often each prompt is drawn
    rates = (times @ sums) / (times @ sizes)
    low, high = np.quantile(rates, [0.025, 0.975])
    return Share(float(sums.sum() / sizes.sum()), float(low), float(high), float(sums.sum()), int(sizes.sum()))


def sign_test(wins: int, losses: int) -> float:
    """Returns the two-sided p-value of ``wins`` out of ``wins + losses`` against one half; 1 without any of them."""
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0

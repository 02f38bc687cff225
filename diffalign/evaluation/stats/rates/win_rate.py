"""Paired statistics: how often the aligned sample beats the base's, with interval and p-value.

    rate = (wins + ties / 2) / n            over pairs that share prompt and seed

Samples of one prompt are not independent, so with several per prompt the interval comes from resampling prompts.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from diffalign.errors import UserError
from diffalign.evaluation.stats.prompt_groups import number_prompts
from diffalign.evaluation.stats.rates.bootstrap import bootstrap_over_prompts
from diffalign.evaluation.stats.rates.share import share
from diffalign.evaluation.stats.significance.sign_test import sign_test


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
    cluster = number_prompts([group for group, keep in zip(groups, finite, strict=True) if keep])
    outcome = (np.sign(a - b)[finite] + 1) / 2
    wins, losses, ties = (int((outcome == value).sum()) for value in (1.0, 0.0, 0.5))
    sizes, sums = np.bincount(cluster), np.bincount(cluster, outcome)
    n, count = len(outcome), len(sizes)
    means = sums / sizes
    if count == n:
        (low, high), method = _wilson(float(outcome.sum()), n), "Wilson"
    elif np.ptp(means) == 0 and np.ptp(sizes) == 0:
        (low, high), method = _wilson(float(means.sum()), count), "Wilson over prompts"
    else:
        (low, high), method = bootstrap_over_prompts(sums, sizes, seed=seed), "bootstrap over prompts"
    return WinRate(
        rate=float(outcome.mean()),
        low=low,
        high=high,
        wins=wins,
        losses=losses,
        ties=ties,
        p_value=sign_test(int((means > 0.5).sum()), int((means < 0.5).sum())),
        prompts=count,
        interval=method,
        excluded=int((~finite).sum()),
    )


def _wilson(hits: float, n: int) -> tuple[float, float]:
    interval = share(hits, n)
    return interval.low, interval.high

"""Length-controlled win rate: how often the aligned sample would win if both samples of a pair had equal lengths.

A logistic regression of the outcome on the difference of lengths, evaluated at no difference:

    P(aligned wins) = s(a + b tanh(d / sd)),      d = length aligned - length base,   sd its standard deviation
    rate = s(a)

The fit and its interval are those of :mod:`~diffalign.evaluation.stats.rates.controlled_rate`.

Source: Dubois et al. 2024 (arXiv 2404.04475): their regression, without the term for the difficulty of a prompt, which
takes many models to estimate.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from diffalign.evaluation.stats.rates.controlled_rate import controlled_rate


@dataclass(frozen=True)
class LengthControlled:
    """A win rate at equal lengths.

    Args:
        rate: ``s(a)``, in [0, 1].
        low, high: Its 95 % interval.
        slope: ``b``: above 0 the judge prefers longer samples; it is the change of the log-odds from no difference to a
            very large one.
        n: Number of comparisons.
    """

    rate: float
    low: float
    high: float
    slope: float
    n: int


def length_controlled(
    first: Sequence[float],
    second: Sequence[float],
    gaps: Sequence[float],
    prompts: Sequence[Hashable] | None = None,
) -> LengthControlled | None:
    """Fits the regression and returns the win rate at equal lengths.

    Args:
        first, second: Scores of the aligned and of the base sample, ``(N,)`` each.
        gaps: ``(N,)``, aligned length minus base length.
        prompts: ``(N,)``, the prompt of each comparison; ``None`` if all are distinct.

    Returns:
        None with fewer than ten finite comparisons, or if all differences of lengths are equal.

    Facts: swapping the two sides turns the rate into 1 minus it; if length does not predict the outcome, the rate is
        the plain win rate.
    """
    a, b, gap = (np.asarray(values, np.float64).reshape(-1) for values in (first, second, gaps))
    keep = np.isfinite(a) & np.isfinite(b)
    outcome, gap = (np.sign(a - b)[keep] + 1) / 2, gap[keep]
    spread = gap.std(ddof=1) if len(gap) > 1 else 0.0
    if spread == 0.0:
        return None
    kept = None if prompts is None else [prompt for prompt, is_kept in zip(prompts, keep, strict=True) if is_kept]
    fit = controlled_rate(outcome, np.tanh(gap / spread)[:, None], kept)
    return None if fit is None else LengthControlled(fit.rate, fit.low, fit.high, fit.slopes[0], fit.n)

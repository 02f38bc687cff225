"""Style-controlled win rate: how often the aligned text would win if both texts had equal length and formatting.

    x_k = d_k / sd_k,    d_k = (c_k aligned - c_k base) / (c_k aligned + c_k base),  0 if neither has any

with ``c_k`` the numbers of words, list items, bold phrases and headers, and ``sd_k`` the standard deviation of ``d_k``.
The regression is that of :mod:`~diffalign.evaluation.stats.rates.controlled_rate`; a feature in which all pairs agree
has no part in it. It removes what formatting *explains*: a list that is better because it is a list loses that.

Source: Chatbot Arena's style control (Li, Angelopoulos and Chiang 2024, "Does style matter?", lmsys.org), for two
models instead of many. Theirs is a Bradley-Terry model with the same differences, which also subtracts their means: of
two models that would keep the average difference of style, which is what is to be removed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from diffalign.evaluation.stats.rates.controlled_rate import controlled_rate


@dataclass(frozen=True)
class StyleControlled:
    """A win rate at equal style.

    Args:
        rate: In [0, 1].
        low, high: Its 95 % interval.
        n: Number of comparisons.
        slopes: By feature the change of the log-odds for one standard deviation more of it in the aligned text.
    """

    rate: float
    low: float
    high: float
    n: int
    slopes: Mapping[str, float] = field(default_factory=dict)


def style_controlled(
    first: Sequence[float],
    second: Sequence[float],
    styles: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    prompts: Sequence[Hashable] | None = None,
) -> StyleControlled | None:
    """Fits the regression and returns the win rate at equal style.

    Args:
        first, second: Scores of the aligned and of the base text, ``(N,)`` each.
        styles: By feature the counts of the aligned and of the base texts, ``(N,)`` each, 0 or more.
        prompts: ``(N,)``, the prompt of each comparison; None if all are distinct.

    Returns:
        None if no feature differs within a pair, or with fewer than ten finite comparisons per feature that does.
    """
    gaps = np.asarray(first, np.float64).reshape(-1) - np.asarray(second, np.float64).reshape(-1)
    keep = np.isfinite(gaps)
    columns = {name: _relative(*counts)[keep] for name, counts in styles.items()}
    spreads = {name: float(column.std(ddof=1)) if len(column) > 1 else 0.0 for name, column in columns.items()}
    names = [name for name in columns if spreads[name] > 0]
    if not names:
        return None
    features = np.stack([columns[name] / spreads[name] for name in names], axis=1)
    kept = None if prompts is None else [prompt for prompt, is_kept in zip(prompts, keep, strict=True) if is_kept]
    fit = controlled_rate((np.sign(gaps[keep]) + 1) / 2, features, kept)
    if fit is None:
        return None
    return StyleControlled(fit.rate, fit.low, fit.high, fit.n, dict(zip(names, fit.slopes, strict=True)))


def _relative(aligned: Sequence[float], base: Sequence[float]) -> np.ndarray:
    first, second = np.asarray(aligned, np.float64), np.asarray(base, np.float64)
    return (first - second) / np.maximum(first + second, 1e-300)

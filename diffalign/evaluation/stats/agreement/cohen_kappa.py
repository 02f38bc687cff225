"""Cohen's kappa: how much more two judges agree than by chance.

    kappa = 1 - sum_ij w_ij n_ij / sum_ij w_ij e_ij,        e_ij = row_i column_j / n

with ``n_ij`` comparisons that the first judge puts into category i and the second into j, ``w_ij`` the cost of that
disagreement (0 on the diagonal, otherwise 1, or growing with the distance), and ``e_ij`` what judges of the same habits
would have by chance. 1 is full agreement, 0 is chance.

Sources: Cohen 1960, Educational and Psychological Measurement 20; with weights, Cohen 1968, Psychological Bulletin 70.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffalign.errors import UserError
from diffalign.evaluation.stats.prompt_groups import number_prompts
from diffalign.evaluation.stats.rates.bootstrap import LEVEL, RESAMPLES

Weights = Literal["equal", "linear", "quadratic"]
"""Cost of a disagreement: 1 for all, the distance of the two categories, or its square."""


@dataclass(frozen=True)
class Kappa:
    """The agreement of two judges.

    Args:
        value: Kappa, at most 1; nan if both use one and the same category throughout.
        low, high: Its 95 % bootstrap interval over prompts; nan if it is undefined in most resamples.
        agreement: Share of comparisons in the same category.
        n: Number of comparisons.
    """

    value: float
    low: float
    high: float
    agreement: float
    n: int


def cohen_kappa(
    first: Sequence[int],
    second: Sequence[int],
    *,
    weights: Weights = "equal",
    both_orders: bool = False,
    prompts: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Kappa:
    """Computes the agreement of two judges.

    Args:
        first, second: ``(N,)`` categories as whole numbers in their order: -1, 0, 1 for loss, tie and win.
        weights: Cost of a disagreement.
        both_orders: Count every comparison in both orders, with the negated categories in the other. Where one side is
            the chosen one throughout, one of the judges says 1 throughout, and agreement would seem to be chance.
        prompts: ``(N,)``; None if all are distinct.
        seed: Seed of the bootstrap.

    Raises:
        UserError: The two have different lengths, or there is no comparison.
    """
    a, b = np.asarray(first, np.int64).reshape(-1), np.asarray(second, np.int64).reshape(-1)
    if len(a) != len(b) or not len(a):
        raise UserError(f"kappa needs equally many judgements of both judges, one at least; got {len(a)} and {len(b)}.")
    cluster = number_prompts(range(len(a)) if prompts is None else prompts)
    agreement, n = float((a == b).mean()), len(a)
    if both_orders:
        a, b, cluster = np.append(a, -a), np.append(b, -b), np.append(cluster, cluster)
    _, codes = np.unique(np.append(a, b), return_inverse=True)
    count = int(codes.max()) + 1
    tables = np.zeros((int(cluster.max()) + 1, count, count))
    np.add.at(tables, (cluster, codes[: len(a)], codes[len(a) :]), 1.0)
    distance = np.abs(np.subtract.outer(np.unique(np.append(a, b)), np.unique(np.append(a, b)))).astype(float)
    cost = {"equal": (distance > 0).astype(float), "linear": distance, "quadratic": distance**2}[weights]
    value = float(_kappas(tables.sum(0)[None], cost)[0])
    # Prompts with equal tables are drawn together, of which there are few.
    kinds, members = np.unique(tables, axis=0, return_counts=True)
    times = np.random.default_rng(seed).multinomial(len(tables), members / len(tables), RESAMPLES)
    drawn = _kappas(np.tensordot(times, kinds, 1), cost)
    drawn = drawn[np.isfinite(drawn)]
    low, high = math.nan, math.nan
    if len(drawn) > RESAMPLES / 2 and math.isfinite(value):
        low, high = map(float, np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Kappa(value, low, high, agreement, n)


def _kappas(tables: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Returns the kappa of each table of counts, ``(T, C, C)`` to ``(T,)``."""
    expected = tables.sum(2)[:, :, None] * tables.sum(1)[:, None, :] / tables.sum((1, 2))[:, None, None]
    by_chance = (cost * expected).sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(by_chance > 0, 1 - (cost * tables).sum((1, 2)) / by_chance, math.nan)

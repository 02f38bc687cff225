"""Best of n: what picking the best of n samples of the base by a judge would do, for nothing but sampling.

Of N scored samples in ascending order of the judge that picks, with ``g_i`` what another judge says of the i-th:

    E[g of the best of n] = sum_{i=n..N} C(i-1, n-1) / C(N, n) g_i,        KL(best of n || base) = log n - (n-1)/n

The estimate is unbiased: every subset of n counts once. Where the judge that training learnt from goes on rising in n
while a held-out one falls, the former can be pleased without being right, whatever optimises it.

Source: Coste et al. 2023 (arXiv 2310.02743); the divergence is that of continuous scores without ties.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from diffalign.evaluation.compare.result import Comparison


@dataclass(frozen=True)
class BestOf:
    """The best of ``n`` samples of the base.

    Args:
        n: How many samples are picked from.
        drift: KL from the base, nats.
        scores: Mean score by judge.
    """

    n: int
    drift: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Frontier:
    """What best of n reaches.

    Args:
        picker: The judge that picks: one that training learnt from.
        steps: For n = 1, 2, 4, ... up to the samples of a prompt.
    """

    picker: str
    steps: tuple[BestOf, ...]

    def summary(self, roles: Mapping[str, str]) -> list[str]:
        """A sentence where a held-out judge is lower at the largest n than at a smaller one.

        Args:
            roles: By judge ``"held-out"`` or ``"trained-on"``.
        """
        told = []
        for name in (name for name, role in roles.items() if role == "held-out"):
            course = [step.scores[name] for step in self.steps if name in step.scores]
            top = max(range(len(course)), key=course.__getitem__) if course else 0
            if course and 0 < top < len(course) - 1:
                told.append(
                    f"Already the best of {self.steps[-1].n} base samples by {self.picker} is worse to {name} than the "
                    f"best of {self.steps[top].n}: the two part under selection alone."
                )
        return told


def divergence_of_best(n: int) -> float:
    """KL of the best of ``n`` from a single sample, nats: ``log n - (n - 1) / n``."""
    return math.log(n) - (n - 1) / n


def best_of_n(picked_by: Sequence[float], judged_by: Sequence[float], n: int) -> float:
    """The unbiased estimate of a judge's mean score of the best of ``n``.

    Args:
        picked_by: ``(N,)``, scores of the judge that picks.
        judged_by: ``(N,)``, scores of the judge that is asked.
        n: In 1 ... N.

    Facts: ``n = 1`` is the mean, ``n = N`` the score of the one at the top; samples that tie for the picker share what
        they get.
    """
    picks, gold = np.asarray(picked_by, np.float64), np.asarray(judged_by, np.float64)
    count = len(picks)
    assert 1 <= n <= count == len(gold), "n lies between 1 and the number of samples, each with two scores"
    for value in np.unique(picks):
        gold = np.where(picks == value, gold[picks == value].mean(), gold)
    ordered = gold[np.argsort(picks, kind="stable")]
    weights = [math.comb(i - 1, n - 1) / math.comb(count, n) for i in range(1, count + 1)]
    return float(np.dot(weights, ordered))


def frontier(comparison: Comparison) -> Frontier | None:
    """What best of n of the base reaches in a comparison, averaged over prompts.

    Returns:
        None without a judge that training learnt from, or where no prompt has two samples with finite scores.
    """
    picker = next((j.name for j in comparison.judgements if j.role == "trained-on"), None)
    if picker is None:
        return None
    groups: dict[Hashable, list[Mapping[str, float]]] = {}
    for row in comparison.rows:
        base = {name: pair[0] for name, pair in row["scores"].items()}
        if all(value is not None and math.isfinite(value) for value in base.values()):
            groups.setdefault(row["prompt"], []).append(base)
    fewest = min(map(len, groups.values()), default=0)
    steps = []
    n = 1
    while n <= fewest and fewest > 1:
        scores = {
            name: float(
                np.mean([best_of_n([s[picker] for s in own], [s[name] for s in own], n) for own in groups.values()])
            )
            for name in (judgement.name for judgement in comparison.judgements)
        }
        steps.append(BestOf(n, divergence_of_best(n), scores))
        n *= 2
    return Frontier(picker, tuple(steps)) if steps else None

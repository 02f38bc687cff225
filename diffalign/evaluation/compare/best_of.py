"""Best of n: the scores reached by sampling n times from the base and keeping the sample that one judge prefers.

Of N scored samples in ascending order of the judge that picks, with ``g_i`` another judge's score of the i-th:

    E[g of the best of n] = sum_{i=n..N} C(i-1, n-1) / C(N, n) g_i,        KL(best of n || base) = log n - (n-1)/n

The estimate is unbiased: every subset of n counts once. If the trained-on judge keeps rising with n while a held-out
judge falls, the trained-on judge can be exploited by any optimiser.

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
        n: Number of samples to pick from.
        drift: KL from the base, nats.
        scores: Mean score by judge.
    """

    n: int
    drift: float
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BestOfCurve:
    """Mean scores of the best of n, for growing n.

    Args:
        picker: The judge that picks, one that training learnt from.
        steps: For n = 1, 2, 4, ... up to the samples of a prompt.
    """

    picker: str
    steps: tuple[BestOf, ...]

    def summary(self, roles: Mapping[str, str]) -> list[str]:
        """Returns a sentence for each held-out judge that is lower at the largest n than at a smaller one.

        Args:
            roles: By judge ``"held-out"`` or ``"trained-on"``.
        """
        sentences = []
        for name in (name for name, role in roles.items() if role == "held-out"):
            means = [step.scores[name] for step in self.steps if name in step.scores]
            top = max(range(len(means)), key=means.__getitem__) if means else 0
            if means and 0 < top < len(means) - 1:
                sentences.append(
                    f"{name} scores the best of {self.steps[-1].n} base samples by {self.picker} lower than the best "
                    f"of {self.steps[top].n}: the two judges disagree even without any training."
                )
        return sentences


def kl_of_best(n: int) -> float:
    """Returns the KL of the best of ``n`` from a single sample, nats: ``log n - (n - 1) / n``."""
    return math.log(n) - (n - 1) / n


def best_of_n(picked_by: Sequence[float], judged_by: Sequence[float], n: int) -> float:
    """Returns the unbiased estimate of a judge's mean score of the best of ``n``.

    Args:
        picked_by: ``(N,)``, scores of the judge that picks.
        judged_by: ``(N,)``, scores of the judge whose mean is estimated.
        n: In 1 ... N.

    Facts: ``n = 1`` is the mean, ``n = N`` the score of the sample at the top; samples that tie for the picker share
        the mean of their scores.
    """
    picks, scores = np.asarray(picked_by, np.float64), np.asarray(judged_by, np.float64)
    count = len(picks)
    assert 1 <= n <= count == len(scores), "n lies between 1 and the number of samples, each with two scores"
    for value in np.unique(picks):
        scores = np.where(picks == value, scores[picks == value].mean(), scores)
    ordered = scores[np.argsort(picks, kind="stable")]
    weights = [math.comb(i - 1, n - 1) / math.comb(count, n) for i in range(1, count + 1)]
    return float(np.dot(weights, ordered))


def best_of_curve(comparison: Comparison) -> BestOfCurve | None:
    """Computes the best of n from the base samples of a comparison, averaged over prompts.

    Returns:
        None without a judge that training learnt from, or if no prompt has two samples with finite scores.
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
                np.mean(
                    [best_of_n([s[picker] for s in group], [s[name] for s in group], n) for group in groups.values()]
                )
            )
            for name in (judgement.name for judgement in comparison.judgements)
        }
        steps.append(BestOf(n, kl_of_best(n), scores))
        n *= 2
    return BestOfCurve(picker, tuple(steps)) if steps else None

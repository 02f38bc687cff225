"""Best of n: the scores reached by sampling n times from the base and keeping the sample that one judge prefers.

The estimate and its divergence are in :mod:`~diffalign.evaluation.stats.best_of_n`. If the trained-on judge keeps
rising with n while a held-out judge falls, the trained-on judge can be exploited by any optimiser.

Source: Coste et al. 2023 (arXiv 2310.02743).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field

import numpy as np

from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.stats.best_of_n import best_of_n, kl_of_best


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

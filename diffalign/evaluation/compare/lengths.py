"""Lengths: how long the samples of either model are, and whether the judges simply prefer the longer ones.

Many judges of texts, people among them, like long answers, and preference training finds that out before anything else.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from diffalign.evaluation.samples.medium import Medium
from diffalign.evaluation.stats.length_control import LengthControlled, length_controlled
from diffalign.evaluation.stats.statistics import Share, share


@dataclass(frozen=True)
class Lengths:
    """Lengths of two models' samples.

    Args:
        unit: What is counted.
        base, aligned: Mean lengths.
        longer: By judge, how often it scored the longer sample of a pair higher, among pairs of two lengths that it
            did not call equal.
        base_median, aligned_median: Median lengths.
        controlled: By judge, how often the aligned sample would win at equal lengths; judges with too few comparisons
            for it are left out.
    """

    unit: str
    base: float
    aligned: float
    longer: Mapping[str, Share] = field(default_factory=dict)
    base_median: float = float("nan")
    aligned_median: float = float("nan")
    controlled: Mapping[str, LengthControlled] = field(default_factory=dict)

    @property
    def change(self) -> float:
        """Relative change of the mean: 0.5 when samples became half as long again."""
        return self.aligned / self.base - 1 if self.base > 0 else float("nan")


def lengths(
    medium: Medium,
    base: Sequence[Any],
    aligned: Sequence[Any],
    scores: Mapping[str, Sequence[Sequence[float]]],
    prompts: Sequence[Hashable] | None = None,
) -> Lengths | None:
    """Measures both sides.

    Args:
        medium: How samples are measured; None is returned where they are all of one size.
        base, aligned: Contents, ``N`` each, at least one; position i of both shares prompt and seed.
        scores: By judge, the scores of both sides, ``(2, N)``.
        prompts: ``N`` prompts; None when each is another one.
    """
    if medium.length is None:
        return None
    sizes = [[medium.length(content) for content in side] for side in (base, aligned)]
    gaps = [after - before for before, after in zip(*sizes, strict=True)]
    longer, controlled = {}, {}
    for name, (first, second) in scores.items():
        # Positive where the judge's preference points to the longer one; nan, as a tie, is neither.
        signs = [(b - a) * gap for a, b, gap in zip(first, second, gaps, strict=True)]
        wins, losses = (sum(way * sign > 0 for sign in signs) for way in (1, -1))
        longer[name] = share(wins, wins + losses)
        if (found := length_controlled(second, first, gaps, prompts)) is not None:
            controlled[name] = found
    before, after = sizes
    return Lengths(
        unit=medium.unit,
        base=fmean(before),
        aligned=fmean(after),
        longer=longer,
        base_median=float(median(before)),
        aligned_median=float(median(after)),
        controlled=controlled,
    )

"""Lengths and style of the samples of both models, and whether the judges simply prefer longer or formatted ones.

Many judges of texts, human ones included, prefer long answers, and preference training exploits that early.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from diffalign.evaluation.samples.medium import Medium
from diffalign.evaluation.stats.rates.length_control import LengthControlled, length_controlled
from diffalign.evaluation.stats.rates.share import Share, share
from diffalign.evaluation.stats.rates.style_control import StyleControlled, style_controlled


@dataclass(frozen=True)
class Lengths:
    """Lengths of two models' samples.

    Args:
        unit: What is counted.
        base, aligned: Mean lengths.
        longer: By judge, the share of pairs in which it scored the longer sample higher; pairs of equal length and
            ties are left out.
        base_median, aligned_median: Median lengths.
        controlled: By judge, how often the aligned sample would win at equal lengths; judges with too few comparisons
            are left out.
        styled: By judge, how often it would win at equal length and formatting; judges with too few comparisons, and
            samples whose formatting does not differ, are left out.
    """

    unit: str
    base: float
    aligned: float
    longer: Mapping[str, Share] = field(default_factory=dict)
    base_median: float = float("nan")
    aligned_median: float = float("nan")
    controlled: Mapping[str, LengthControlled] = field(default_factory=dict)
    styled: Mapping[str, StyleControlled] = field(default_factory=dict)

    @property
    def change(self) -> float:
        """Relative change of the mean: 0.5 if samples became 50 % longer."""
        return self.aligned / self.base - 1 if self.base > 0 else float("nan")


def compare_lengths(
    medium: Medium,
    base: Sequence[Any],
    aligned: Sequence[Any],
    scores: Mapping[str, Sequence[Sequence[float]]],
    prompts: Sequence[Hashable] | None = None,
) -> Lengths | None:
    """Measures the samples of both models; returns None for a medium whose samples all have one size.

    Args:
        medium: The kind of samples.
        base, aligned: Contents, ``N`` each, at least one; position i of both shares prompt and seed.
        scores: By judge, the scores of both sides, ``(2, N)``.
        prompts: ``N`` prompts; None if all are distinct.
    """
    if medium.length is None:
        return None
    base_lengths, aligned_lengths = ([medium.length(content) for content in side] for side in (base, aligned))
    gaps = [after - before for before, after in zip(base_lengths, aligned_lengths, strict=True)]
    longer, controlled = {}, {}
    for name, (base_scores, aligned_scores) in scores.items():
        # Positive if the judge prefers the longer sample; nan counts as neither, like a tie.
        signs = [(b - a) * gap for a, b, gap in zip(base_scores, aligned_scores, gaps, strict=True)]
        wins, losses = (sum(direction * sign > 0 for sign in signs) for direction in (1, -1))
        longer[name] = share(wins, wins + losses)
        if (rate := length_controlled(aligned_scores, base_scores, gaps, prompts)) is not None:
            controlled[name] = rate
    return Lengths(
        unit=medium.unit,
        base=fmean(base_lengths),
        aligned=fmean(aligned_lengths),
        longer=longer,
        base_median=float(median(base_lengths)),
        aligned_median=float(median(aligned_lengths)),
        controlled=controlled,
        styled=_styled(medium, base, aligned, scores, prompts),
    )


def _styled(
    medium: Medium,
    base: Sequence[Any],
    aligned: Sequence[Any],
    scores: Mapping[str, Sequence[Sequence[float]]],
    prompts: Sequence[Hashable] | None,
) -> dict[str, StyleControlled]:
    """Returns the win rates at equal style; none where formatting besides length never differs within a pair."""
    if medium.style is None:
        return {}
    before, after = ([medium.style(content) for content in side] for side in (base, aligned))
    features = list(before[0])
    styles = {name: ([row[name] for row in after], [row[name] for row in before]) for name in features}
    if all(a == b for name, (a, b) in styles.items() if name != medium.unit):
        return {}
    fits = {name: style_controlled(pair[1], pair[0], styles, prompts) for name, pair in scores.items()}
    return {name: fit for name, fit in fits.items() if fit is not None}

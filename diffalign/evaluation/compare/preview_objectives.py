"""The previews of a run as trade-offs of several judges: which steps are best for some taste, and what they offer.

Each step is a point of the judges' mean scores, minus those of the first previews (which are the base's), in standard
deviations of the base's scores: judges of different units share one scale, and the base is 0. A step is on the front
if no other is at least as good by all judges and better by one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.stats.objectives.expected_utility import expected_utility
from diffalign.evaluation.stats.objectives.hypervolume import hypervolume
from diffalign.evaluation.stats.objectives.pareto_front import pareto_front
from diffalign.evaluation.stats.objectives.sparsity import sparsity
from diffalign.evaluation.stats.over_optimisation import OverOptimisation, fit_over_optimisation


@dataclass(frozen=True)
class PreviewObjectives:
    """Trade-offs along a run.

    Args:
        judges: The objectives, held-out judges if there are two, otherwise all.
        steps: Steps whose scores are finite.
        points: ``(steps, judges)``, gains over the first step, in standard deviations of its scores.
        front: ``(steps,)``, whether each step is on the front.
        hypervolume: Volume beyond the first step that the front dominates.
        utility: Expected utility of the front over all weightings of the judges.
        sparsity: Mean squared gap between neighbours on the front; nan with one step on it.
    """

    judges: tuple[str, ...]
    steps: tuple[int, ...]
    points: tuple[tuple[float, ...], ...]
    front: tuple[bool, ...]
    hypervolume: float
    utility: float
    sparsity: float

    def rows(self) -> list[tuple[int, tuple[float, ...], bool]]:
        """Returns each step with its gains and whether it is on the front."""
        return list(zip(self.steps, self.points, self.front, strict=True))


def preview_objectives(curve: PreviewCurve) -> PreviewObjectives | None:
    """Returns the trade-offs of a run's previews; None unless two judges tell the first previews apart."""
    held_out = curve.judges("held-out")
    judges = [name for name in (held_out if len(held_out) > 1 else curve.roles) if _spread(curve, name) > 0]
    if len(judges) < 2:
        return None
    table = np.array([[_gain(curve, name, step) for name in judges] for step in range(len(curve.steps))])
    finite = np.isfinite(table).all(1)
    points = table[finite]
    return PreviewObjectives(
        judges=tuple(judges),
        steps=tuple(step for step, is_finite in zip(curve.steps, finite, strict=True) if is_finite),
        points=tuple(map(tuple, points.tolist())),
        front=tuple(pareto_front(points).tolist()),
        hypervolume=hypervolume(points, [0.0] * len(judges)),
        utility=expected_utility(points),
        sparsity=sparsity(points),
    )


def over_optimisation_fits(curve: PreviewCurve) -> dict[str, OverOptimisation]:
    """Returns by judge the curve of its gain against the drift, for judges with enough steps whose drift is known."""
    known = [k for k, drift in enumerate(curve.drifts) if drift is not None]
    drifts = [drift.value for drift in curve.drifts if drift is not None]
    fits = {}
    for name in curve.roles:
        if not _spread(curve, name) > 0:
            continue
        fit = fit_over_optimisation(drifts, [_gain(curve, name, step) for step in known])
        if fit is not None:
            fits[name] = fit
    return fits


def _gain(curve: PreviewCurve, judge: str, step: int) -> float:
    return (curve.mean(judge, step) - curve.mean(judge, 0)) / _spread(curve, judge)


def _spread(curve: PreviewCurve, judge: str) -> float:
    """Returns the standard deviation of the judge's scores of the first previews; nan with fewer than two."""
    values = [value for value in curve.scores[judge][0] if math.isfinite(value)]
    return float(np.std(values, ddof=1)) if len(values) > 1 else math.nan

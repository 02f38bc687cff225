"""The previews of a run by several judges: which steps are best for some taste, and how each judge follows the drift.

Each step is a point of the judges' mean scores, minus those of the first previews, which are the base's.
"""

from __future__ import annotations

import math

import numpy as np

from diffalign.evaluation.analysis.trade_offs import TradeOffs, trade_offs
from diffalign.evaluation.compare.preview_curve import PreviewCurve
from diffalign.evaluation.stats.over_optimisation import OverOptimisation, fit_over_optimisation


def preview_objectives(curve: PreviewCurve) -> TradeOffs | None:
    """Returns the trade-offs of a run's steps by its held-out judges if there are two, otherwise by all.

    Returns:
        None unless two judges tell the first previews apart. Steps with a mean that is not finite are left out.
    """
    held_out = curve.judges("held-out")
    judges = [name for name in (held_out if len(held_out) > 1 else curve.roles) if _spread(curve, name) > 0]
    if len(judges) < 2:
        return None
    table = np.array([[_gain(curve, name, step) for name in judges] for step in range(len(curve.steps))])
    finite = np.isfinite(table).all(1)
    steps = [str(step) for step, is_finite in zip(curve.steps, finite, strict=True) if is_finite]
    return trade_offs(judges, steps, table[finite])


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

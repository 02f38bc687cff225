"""Trade-offs of several judges: models, or steps of a run, as points of gains over one base.

Gains are in standard deviations of the base's scores, so that judges of different units share one scale and the base is
0. A model is on the front if no other is at least as good by all judges and better by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from diffalign.errors import DataError
from diffalign.evaluation.analysis.judge_scores import judge_scores
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.stats.objectives.expected_utility import expected_utility
from diffalign.evaluation.stats.objectives.hypervolume import hypervolume
from diffalign.evaluation.stats.objectives.pareto_front import pareto_front
from diffalign.evaluation.stats.objectives.sparsity import sparsity


@dataclass(frozen=True)
class TradeOffs:
    """Models as points of several judges.

    Args:
        judges: The objectives.
        names: The models.
        points: ``(models, judges)``, gains over the base in standard deviations of its scores.
        front: ``(models,)``, whether each is on the front.
        hypervolume: Volume beyond the base that the front dominates.
        utility: Expected utility of the front over all weightings of the judges.
        sparsity: Mean squared gap between neighbours on the front; nan with one model on it.
    """

    judges: tuple[str, ...]
    names: tuple[str, ...]
    points: tuple[tuple[float, ...], ...]
    front: tuple[bool, ...]
    hypervolume: float
    utility: float
    sparsity: float

    def rows(self) -> list[tuple[str, tuple[float, ...], bool]]:
        """Returns each model with its gains and whether it is on the front."""
        return list(zip(self.names, self.points, self.front, strict=True))


def trade_offs(judges: Sequence[str], names: Sequence[str], points: np.ndarray) -> TradeOffs:
    """Returns the trade-offs of finite points, ``(models, judges)``."""
    return TradeOffs(
        judges=tuple(judges),
        names=tuple(names),
        points=tuple(map(tuple, points.tolist())),
        front=tuple(pareto_front(points).tolist()),
        hypervolume=hypervolume(points, [0.0] * len(judges)),
        utility=expected_utility(points),
        sparsity=sparsity(points),
    )


def comparison_trade_offs(comparisons: Mapping[str, Comparison]) -> TradeOffs:
    """Returns several aligned models, each compared with its base, as points of the held-out judges they share.

    Args:
        comparisons: By name of the model; of one base, by the same judges.

    Raises:
        DataError: Their bases are different models, or they share fewer than two held-out judges, with the same
            weights, that tell the base's samples apart.
    """
    bases = {str(base["model"]) for one in comparisons.values() if "model" in (base := one.settings.get("base") or {})}
    if len(bases) > 1:
        raise DataError(
            "the comparisons have different bases, so their gains have no common zero. Compare every model with the "
            "same base."
        )
    shared = [
        judgement.name
        for judgement in next(iter(comparisons.values())).held_out()
        if all(
            (judgement.name, judgement.weights) in {(j.name, j.weights) for j in other.held_out()}
            for other in comparisons.values()
        )
    ]
    columns: dict[str, list[float]] = {}
    for judge in shared:
        scores = [judge_scores(comparison, judge) for comparison in comparisons.values()]
        base = np.concatenate([before for before, _ in scores])
        spread = float(np.nanstd(base, ddof=1)) if np.isfinite(base).sum() > 1 else 0.0
        if spread > 0 and all(np.isfinite(before).any() for before, _ in scores):
            columns[judge] = [float(np.nanmean(after - before)) / spread for before, after in scores]
    if len(columns) < 2:
        raise DataError(
            "trade-offs need two held-out judges or more that all comparisons share and that tell the base's samples "
            f"apart; got {', '.join(columns) or 'none'}. Compare every model with the same --scorer options."
        )
    return trade_offs(list(columns), list(comparisons), np.array(list(columns.values())).T)

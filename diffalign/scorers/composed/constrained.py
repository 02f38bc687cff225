"""Constrained: one score to maximise, subject to others that must stay within bounds.

    violation = sum_c [ max(0, at_least_c - s_c) + max(0, s_c - at_most_c) ] / scale_c
    score     = objective                            where nothing is violated
              = lowest - violation                   otherwise, or with a penalty:  objective - penalty x violation

In the first form every sample that keeps the bounds beats every one that does not, and of two that do not the one that
is nearer wins, so that a model can learn its way in. It needs a number that no objective lies below: the lower end of
the scorer's range, or ``lowest``.

Source: the feasibility rules of Deb 2000, Computer Methods in Applied Mechanics and Engineering 186; the penalty is the
usual Lagrangian form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import ConfigError, DataError
from diffalign.scorers.composed.composition_file import check_keys, entries, number, opening, read_composition, spec
from diffalign.scorers.composed.several_scorers import SeveralScorers
from diffalign.scorers.scorer import Scorer, check_prompt_count

EXAMPLE = "constrained:bounds.yaml"


@dataclass(frozen=True)
class Bound:
    """A scorer that must stay within bounds.

    Args:
        scorer: The scorer.
        at_least, at_most: The bounds, in its unit; infinite for none.
        scale: The shortfall that counts as a violation of 1, in its unit; above 0.
    """

    scorer: Scorer
    at_least: float = -math.inf
    at_most: float = math.inf
    scale: float = 1.0

    def violation(self, scores: Tensor) -> Tensor:
        """Returns by how much scores leave the bounds, ``(B,)``, 0 or more; nan where a score is nan."""
        values = scores.double()
        return ((self.at_least - values).clamp(min=0) + (values - self.at_most).clamp(min=0)) / self.scale


class Constrained(SeveralScorers):
    """A score subject to bounds on others.

    Args:
        objective: The scorer to maximise.
        bounds: The bounds, one or more.
        penalty: What a violation of 1 costs, in the objective's unit; None puts all violations below ``lowest``.
        lowest: A number that no objective lies below; None takes the lower end of the scorer's range.
        name: Its name in reports.

    Raises:
        ConfigError: No bound, an empty interval, a scale or penalty that is not above 0, or no ``lowest`` for an
            objective without a lowest score.
    """

    def __init__(
        self,
        objective: Scorer,
        bounds: Sequence[Bound],
        penalty: float | None = None,
        lowest: float | None = None,
        name: str = "constrained",
    ) -> None:
        _check(bounds, penalty, lowest, name)
        super().__init__(name, [objective, *(bound.scorer for bound in bounds)], "Deb 2000")
        self.objective, self.bounds, self.penalty = objective, tuple(bounds), penalty
        self.lowest = objective.range[0] if lowest is None else lowest
        if penalty is None and not math.isfinite(self.lowest):
            raise ConfigError(
                f"{name}: {objective.name} has no lowest score, and what violates a bound has to lie below all others. "
                "State lowest, a number that it never falls below, or a penalty."
            )
        self.unit = f"{objective.unit}; lower where a bound is violated"
        self.range = -math.inf, objective.range[1]

    @classmethod
    def load(
        cls, argument: str, device: str, load_scorer: Callable[[str, str], Scorer], check: Callable[[list[str]], None]
    ) -> Constrained:
        """Loads the scorers that a file names, see :meth:`Ensemble.load`. Raises ConfigError for a wrong file."""
        content = read_composition(argument, "constrained", EXAMPLE)
        check_keys(content, argument, ["objective", "subject_to"], ["penalty", "lowest"])
        rows = entries(content, "subject_to", argument)
        places = [f"{argument}, bound {place}" for place in range(1, len(rows) + 1)]
        for row, place in zip(rows, places, strict=True):
            check_keys(row, place, ["scorer"], ["at_least", "at_most", "scale"])
        specs = [spec(row, "scorer", place) for row, place in zip(rows, places, strict=True)]
        objective = spec(content, "objective", argument)
        check([objective, *specs])
        options = {key: number(content, key, argument, 0.0) for key in ("penalty", "lowest") if key in content}
        limits = [
            {key: number(row, key, place, 0.0) for key in ("at_least", "at_most", "scale") if key in row}
            for row, place in zip(rows, places, strict=True)
        ]
        with opening(argument):
            first, *others = (load_scorer(name, device) for name in [objective, *specs])
        bounds = [Bound(scorer, **limit) for scorer, limit in zip(others, limits, strict=True)]
        return cls(first, bounds, **options, name=f"constrained:{argument}")

    def settings(self) -> str:
        """Returns the bounds, the penalty and the lowest score."""
        return f"{self.penalty!r} {self.lowest!r} {[(b.at_least, b.at_most, b.scale) for b in self.bounds]}"

    def score(self, prompts: Sequence[Any], samples: Sequence[Any]) -> Tensor:
        """Returns the scores, ``(B,)`` float32; nan where one of the scorers gives nan.

        Raises:
            DataError: The objective lies below ``lowest``.
        """
        check_prompt_count(prompts, samples)
        objective = self.objective.score(prompts, samples).double()
        violation = torch.zeros_like(objective)
        for bound in self.bounds:
            violation = violation + bound.violation(bound.scorer.score(prompts, samples))
        if self.penalty is not None:
            return (objective - self.penalty * violation).float()
        if (objective < self.lowest).any():
            least = float(objective.nan_to_num(math.inf).min())
            raise DataError(
                f"{self.objective.name} gave {least:g}, below the lowest score that {self.name} allows for, "
                f"{self.lowest:g}. State a lower one."
            )
        kept = torch.where(violation > 0, self.lowest - violation, objective)
        return torch.where(objective.isnan() | violation.isnan(), math.nan, kept).float()


def _check(bounds: Sequence[Bound], penalty: float | None, lowest: float | None, name: str) -> None:
    if not bounds:
        raise ConfigError(f"{name}: a constraint needs a bound. Without one, use the scorer itself.")
    for bound in bounds:
        if bound.at_least == -math.inf and bound.at_most == math.inf:
            raise ConfigError(f"{name}: {bound.scorer.name} has no bound. State at_least, at_most or both.")
        if bound.at_least > bound.at_most:
            raise ConfigError(
                f"{name}: no score of {bound.scorer.name} is at least {bound.at_least:g} and at most {bound.at_most:g}."
            )
        if not bound.scale > 0:
            raise ConfigError(f"{name}: the scale of {bound.scorer.name} is above 0; got {bound.scale:g}.")
    if penalty is not None and lowest is not None:
        raise ConfigError(f"{name}: lowest has no part in a score with a penalty. State one of the two.")
    if penalty is not None and not penalty > 0:
        raise ConfigError(f"{name}: a penalty is above 0; got {penalty:g}.")

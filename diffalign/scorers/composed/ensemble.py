"""Ensemble: several scorers as one, each brought to one scale by a mean and a scale that its file declares.

    z_m = (score_m - mean_m) / scale_m,        score = sum, mean, worst, ... over m of z_m

with the ways of :mod:`~diffalign.scorers.composed.combine_scores`. A single sample has no data set to be normalised
over (:mod:`~diffalign.scorers.composed.sum_of_scores` has one), so the means and scales are part of the scorer: the
same sample has the same score everywhere. An optimiser exploits what one judge gets wrong; where judges err in
different places, the worst of them, or their mean less their disagreement, is harder to exploit than each alone. Judges
that share a backbone or their data err together.

Source: Coste et al. 2023 (arXiv 2310.02743), section 3: mean, worst case, and uncertainty-weighted with the variance
(their lambda is k).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import ConfigError
from diffalign.scorers.composed.combine_scores import Combine, check_combination, combine_scores, combined_range
from diffalign.scorers.composed.composition_file import check_keys, entries, number, opening, read_composition, spec
from diffalign.scorers.composed.several_scorers import SeveralScorers
from diffalign.scorers.scorer import Scorer, check_prompt_count

EXAMPLE = "ensemble:judges.yaml"


@dataclass(frozen=True)
class Member:
    """One scorer of an ensemble.

    Args:
        scorer: The scorer.
        mean: The score that counts as 0, in the scorer's unit.
        scale: What counts as 1, in the scorer's unit; above 0. A standard deviation, or a range.
        weight: Its weight; below 0, in a sum, it prefers low scores.
    """

    scorer: Scorer
    mean: float = 0.0
    scale: float = 1.0
    weight: float = 1.0

    @property
    def range(self) -> tuple[float, float]:
        """Lowest and highest possible ``z``."""
        low, high = self.scorer.range
        return (low - self.mean) / self.scale, (high - self.mean) / self.scale


class Ensemble(SeveralScorers):
    """Several scorers of one medium as one.

    Args:
        members: Two or more, or one in a sum.
        combine: How their normalised scores become one.
        k: How much the members' disagreement costs; for the last two ways.
        name: Its name in reports.

    Raises:
        ConfigError: The members are too few or of different media, or a weight, ``combine`` or ``k`` is not possible.
    """

    def __init__(
        self, members: Sequence[Member], combine: Combine = "mean", k: float = 1.0, name: str = "ensemble"
    ) -> None:
        _check(members, combine, k, name)
        super().__init__(name, [member.scorer for member in members], "2310.02743")
        self.members, self.combine, self.k = tuple(members), combine, k
        self.unit = f"{combine} of {len(members)} normalised scores"
        self.range = combined_range([m.range for m in members], [m.weight for m in members], combine, k)

    @classmethod
    def load(
        cls, argument: str, device: str, load_scorer: Callable[[str, str], Scorer], check: Callable[[list[str]], None]
    ) -> Ensemble:
        """Loads the scorers that a file names.

        Args:
            argument: The file.
            device: The device of the members.
            load_scorer: Loads a member.
            check: Refuses members that are never used without another.

        Raises:
            ConfigError: The file is none, or a member has another unit than it states, or units differ and a member
                states no mean and scale.
        """
        content = read_composition(argument, "ensemble", EXAMPLE)
        check_keys(content, argument, ["members"], ["combine", "k"])
        combine, k = content.get("combine", "mean"), number(content, "k", argument, 1.0)
        rows = entries(content, "members", argument)
        places = [f"{argument}, member {place}" for place in range(1, len(rows) + 1)]
        for row, place in zip(rows, places, strict=True):
            check_keys(row, place, ["scorer"], ["mean", "scale", "weight", "unit"])
        specs = [spec(row, "scorer", place) for row, place in zip(rows, places, strict=True)]
        check(specs)
        terms = [_numbers(row, place) for row, place in zip(rows, places, strict=True)]
        with opening(argument):
            scorers = [load_scorer(name, device) for name in specs]
        _check_units(rows, scorers, places)
        members = [Member(scorer, *term) for scorer, term in zip(scorers, terms, strict=True)]
        return cls(members, combine, k, f"ensemble:{argument}")

    def settings(self) -> str:
        """Returns the way of combining and the numbers of all members."""
        return f"{self.combine} {self.k!r} {[(m.mean, m.scale, m.weight) for m in self.members]}"

    def score(self, prompts: Sequence[Any], samples: Sequence[Any]) -> Tensor:
        """Returns the combined scores, ``(B,)`` float32; nan where a member gives nan."""
        check_prompt_count(prompts, samples)
        columns = [(m.scorer.score(prompts, samples).double() - m.mean) / m.scale for m in self.members]
        weights = torch.tensor([m.weight for m in self.members], dtype=torch.float64)
        return combine_scores(torch.stack(columns), weights, self.combine, self.k).float()


def _check(members: Sequence[Member], combine: str, k: float, name: str) -> None:
    check_combination(len(members), combine, k, name)
    if any(not member.scale > 0 for member in members):
        raise ConfigError(f"{name}: a scale is above 0; got {[member.scale for member in members]}.")
    if combine == "worst" and any(member.weight != 1 for member in members):
        raise ConfigError(f"{name}: the worst of all members has no weights. Leave them out, or change the scales.")
    if combine != "sum" and any(member.weight <= 0 for member in members):
        raise ConfigError(f"{name}: weights of a mean are above 0. To prefer low scores, write combine: sum.")
    if not any(member.weight for member in members):
        raise ConfigError(f"{name}: every member has weight 0, so nothing would decide. Give one another weight.")


def _check_units(rows: Sequence[dict[str, Any]], scorers: Sequence[Scorer], places: Sequence[str]) -> None:
    for row, scorer, place in zip(rows, scorers, places, strict=True):
        if row.get("unit", scorer.unit) != scorer.unit:
            raise ConfigError(
                f"{place}: {scorer.name} scores in '{scorer.unit}', but the file states '{row['unit']}'. Mean and "
                "scale are in the scorer's unit: measure them with this scorer."
            )
        if not {"mean", "scale"} <= set(row) and len({other.unit for other in scorers}) > 1:
            units = ", ".join(f"{other.name} in '{other.unit}'" for other in scorers)
            raise ConfigError(
                f"{place} needs mean and scale, because the members score in different units: {units}. Take them from "
                "scored samples of the base."
            )


def _numbers(row: dict[str, Any], place: str) -> tuple[float, float, float]:
    """Returns mean, scale and weight."""
    mean, weight = number(row, "mean", place, 0.0), number(row, "weight", place, 1.0)
    return mean, number(row, "scale", place, 1.0, above=0), weight

"""Votes: several judges, or several trainings of one reward model, say how far each chosen candidate is ahead.

    d_bm = r_m(chosen_b) - r_m(rejected_b),     mu_b = mean_m d_bm,     sigma_b = std_m d_bm   (divided by M)

Source: Wang et al. 2024, Secrets of RLHF part II (arXiv 2401.06080), section 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from diffalign.data.records.pair import Pair
from diffalign.data.records.score_table import ScoreTable
from diffalign.errors import DataError, near_miss

Scale = Literal["none", "deviation"]


@dataclass(frozen=True)
class Votes:
    """What the judges say of the pairs.

    Args:
        means: ``mu``, one number per pair.
        deviations: ``sigma``.
        judges: How many there are.
    """

    means: Sequence[float] = field(default_factory=list)
    deviations: Sequence[float] = field(default_factory=list)
    judges: int = 1


def collect_votes(
    pairs: Sequence[Pair], tables: Sequence[ScoreTable], columns: Sequence[str] = (), scale: Scale = "none"
) -> Votes:
    """Mean and population deviation of the judges' differences.

    Args:
        pairs: The pairs.
        tables: Files of scores, each a judge, also where several bear one name.
        columns: Names of scores that the pairs bring, each a judge.
        scale: ``"deviation"`` divides each judge's differences by their root mean square over all pairs, for judges
            that measure in different units; ``"none"`` takes them as they are.

    Raises:
        DataError: No judge, or a pair that one did not judge.
    """
    if not tables and not columns:
        raise DataError(
            "strength needs judges. Make scores with `diffalign score DATA --scorer NAME` and give the files, --scores "
            "FILE for each, or name scores that the pairs bring: --scorer NAME."
        )
    judged = [[_difference(pair, table) for pair in pairs] for table in tables]
    judged += [[column_gap(pair, name) for pair in pairs] for name in columns]
    if scale == "deviation":
        sizes = [math.sqrt(math.fsum(d * d for d in row) / max(len(row), 1)) for row in judged]
        judged = [[d / size if size else 0.0 for d in row] for row, size in zip(judged, sizes, strict=True)]
    means, deviations, count = [], [], len(judged)
    for found in zip(*judged, strict=True):
        mean = math.fsum(found) / count
        means.append(mean)
        deviations.append(math.sqrt(math.fsum((d - mean) ** 2 for d in found) / count))
    return Votes(means, deviations, count)


def column_gap(pair: Pair, name: str) -> float:
    """How far the chosen candidate is ahead by scores that the pair brings. Raises DataError where it has none."""
    chosen, rejected = (pair.scores.get(role, {}) for role in ("chosen", "rejected"))
    if name not in chosen or name not in rejected:
        there = ", ".join(sorted(set(chosen) & set(rejected))) or "none"
        raise DataError(
            f"{pair.source or pair.id} has no scores of both candidates by '{name}'.{near_miss(name, chosen)} Scores "
            f"there: {there}."
        )
    return chosen[name] - rejected[name]


def _difference(pair: Pair, table: ScoreTable) -> float:
    if pair.id not in table.rows:
        raise DataError(
            f"{pair.source or pair.id} has no score by '{table.scorer}' in {table.path}. Was the file made of these "
            "pairs, with these options of the format?"
        )
    chosen, rejected = table.rows[pair.id]
    return chosen - rejected

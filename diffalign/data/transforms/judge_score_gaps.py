"""Votes: the score differences of several judges, or of several trainings of one reward model, for each pair.

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
    """Mean and spread of the judges' score differences.

    Args:
        means: ``mu``, one number per pair.
        deviations: ``sigma``, one number per pair.
        judges: Number of judges.
    """

    means: Sequence[float] = field(default_factory=list)
    deviations: Sequence[float] = field(default_factory=list)
    judges: int = 1


def collect_votes(
    pairs: Sequence[Pair], tables: Sequence[ScoreTable], columns: Sequence[str] = (), scale: Scale = "none"
) -> Votes:
    """Computes mean and population deviation of the judges' score differences.

    Args:
        pairs: The pairs.
        tables: Files of scores, each a judge, even where several have one name.
        columns: Names of scores stored with the pairs, each a judge.
        scale: ``"deviation"`` divides each judge's differences by their root mean square over all pairs, for judges
            with different units; ``"none"`` leaves them unscaled.

    Raises:
        DataError: There is no judge, or a pair has no score by one of them.
    """
    if not tables and not columns:
        raise DataError(
            "strength needs judges. Make scores with `diffalign score DATA --scorer NAME` and give the files, --scores "
            "FILE for each, or name scores that are stored with the pairs: --scorer NAME."
        )
    by_judge = [[_table_gap(pair, table) for pair in pairs] for table in tables]
    by_judge += [[column_gap(pair, name) for pair in pairs] for name in columns]
    if scale == "deviation":
        sizes = [math.sqrt(math.fsum(gap * gap for gap in gaps) / max(len(gaps), 1)) for gaps in by_judge]
        by_judge = [[gap / size if size else 0.0 for gap in gaps] for gaps, size in zip(by_judge, sizes, strict=True)]
    means, deviations, count = [], [], len(by_judge)
    for gaps_of_pair in zip(*by_judge, strict=True):
        mean = math.fsum(gaps_of_pair) / count
        means.append(mean)
        deviations.append(math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps_of_pair) / count))
    return Votes(means, deviations, count)


def column_gap(pair: Pair, name: str) -> float:
    """Returns the difference of chosen and rejected in a stored score. Raises DataError where one has no such score."""
    chosen, rejected = (pair.scores.get(role, {}) for role in ("chosen", "rejected"))
    if name not in chosen or name not in rejected:
        names = ", ".join(sorted(set(chosen) & set(rejected))) or "none"
        raise DataError(
            f"{pair.source or pair.id} has no scores of both candidates by '{name}'.{near_miss(name, chosen)} Scores "
            f"there: {names}."
        )
    return chosen[name] - rejected[name]


def _table_gap(pair: Pair, table: ScoreTable) -> float:
    if pair.id not in table.rows:
        raise DataError(
            f"{pair.source or pair.id} has no score by '{table.scorer}' in {table.path}. Was the file made of these "
            "pairs, with these options of the format?"
        )
    chosen, rejected = table.rows[pair.id]
    return chosen - rejected

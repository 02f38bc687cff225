"""Judges against people: how often each judge agrees with the votes of a data set, and the judges with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diffalign.data.records.pair import PairSet
from diffalign.data.records.score_table import ScoreTable
from diffalign.errors import DataError
from diffalign.evaluation.stats.agreement.cohen_kappa import cohen_kappa
from diffalign.evaluation.stats.agreement.kendall_tau import kendall_tau
from diffalign.evaluation.stats.agreement.with_people import VoteAgreement, agreement_with_people
from diffalign.evaluation.stats.rates.share import percent


@dataclass(frozen=True)
class JudgesAndPeople:
    """Agreement of judges with people and with each other.

    Args:
        people: By judge its agreement with the votes.
        judges: By two judges Cohen's kappa of whom they prefer, and Kendall's tau of their differences of scores.
    """

    people: dict[str, VoteAgreement]
    judges: dict[tuple[str, str], tuple[float, float]]

    def lines(self) -> list[str]:
        """Returns one line per judge, then one per pair of judges."""
        lines = []
        for name, found in self.people.items():
            kappa = "unknown" if found.kappa is None else f"{found.kappa.value:.2f}"
            ceiling = f", at most {percent(found.ceiling)}" if found.ceiling < 1 else ""
            out = f"; {found.undecided} pairs without a decided vote" if found.undecided else ""
            lines.append(
                f"{name} agrees with people in {percent(found.rate)} of {found.n:,} pairs (95 % interval "
                f"{percent(found.low)} to {percent(found.high)}{ceiling}; kappa {kappa}{out})"
            )
        lines += [f"{a} and {b}: kappa {value:.2f}, tau {tau:.2f}" for (a, b), (value, tau) in self.judges.items()]
        return lines


def judges_and_people(pairs: PairSet, tables: Sequence[ScoreTable]) -> JudgesAndPeople:
    """Compares judges whose scores were stored with people's votes.

    Args:
        pairs: The pairs with their votes, as shares of people who prefer the chosen candidate.
        tables: Scores of both candidates by one judge each, for all pairs.

    Raises:
        DataError: A table lacks pairs, holds no scores of candidates, or occurs twice.
    """
    paired = [pair for pair in pairs.pairs if pair.rejected is not None]
    votes, prompts = [pair.probability for pair in paired], [str(pair.prompt) for pair in paired]
    gaps: dict[str, np.ndarray] = {}
    for table in tables:
        if table.roles != ("chosen", "rejected") or table.scorer in gaps:
            raise DataError(f"{table.path} holds no scores of both candidates by a judge of its own. Leave it out.")
        missing = [pair.source or pair.id for pair in paired if pair.id not in table.rows]
        if missing:
            raise DataError(f"{table.path} lacks {len(missing):,} of {len(paired):,} pairs; the first is {missing[0]}.")
        rows = np.array([table.rows[pair.id] for pair in paired], float).reshape(-1, 2)
        gaps[table.scorer] = rows[:, 0] - rows[:, 1]
    if not paired:
        raise DataError(f"'{pairs.source}' holds no pairs of two candidates, so there is no vote to agree with.")
    signs = {name: np.sign(gap).astype(int).tolist() for name, gap in gaps.items()}
    return JudgesAndPeople(
        {name: agreement_with_people(gap.tolist(), votes, prompts) for name, gap in gaps.items()},
        {
            (a, b): (
                cohen_kappa(signs[a], signs[b], both_orders=True, prompts=prompts).value,
                kendall_tau(np.append(gaps[a], -gaps[a]), np.append(gaps[b], -gaps[b])),
            )
            for a, b in combinations(gaps, 2)
        },
    )

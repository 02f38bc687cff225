"""Comparisons of several trainings pooled: does the method work, and not only this seed of it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diffalign.errors import DataError
from diffalign.evaluation.analysis.judge_scores import judge_scores, row_prompts
from diffalign.evaluation.compare.result import Comparison, Role
from diffalign.evaluation.stats.rates.pooled_trainings import Pooled, pool_trainings
from diffalign.evaluation.stats.rates.share import percent


@dataclass(frozen=True)
class PooledJudge:
    """One judge over several trainings.

    Args:
        name, role, unit: As in the judgements.
        win: The win rate of the aligned models, with an interval for another training seed and prompt.
        difference: The mean difference of scores, in the judge's unit.
        left_out: Prompts that not every training has with a finite score.
    """

    name: str
    role: Role
    unit: str
    win: Pooled
    difference: Pooled
    left_out: int

    def __str__(self) -> str:
        each = ", ".join(percent(rate) for rate in self.win.by_training)
        left_out = f"; {self.left_out} prompts that not all of them have were left out" if self.left_out else ""
        change = self.difference
        return (
            f"{self.name} ({self.role.replace('-', ' ')}): {percent(self.win.rate)} over {len(self.win.by_training)} "
            f"trainings and {self.win.prompts} prompts (95 % interval {percent(self.win.low)} to "
            f"{percent(self.win.high)}; each {each}; deviation over seeds {percent(self.win.seed_deviation)}); mean "
            f"difference {change.rate:+.3g} {self.unit} ({change.low:+.3g} to {change.high:+.3g}){left_out}"
        )


def pool_comparisons(comparisons: Sequence[Comparison]) -> list[PooledJudge]:
    """Pools the judges that all comparisons share, in the order of the first.

    Args:
        comparisons: Of two trainings or more of one method, on the same prompts.

    Raises:
        DataError: They share no judge with the same weights, or no two prompts, or two are of one training.
        UserError: There is one comparison only.
    """
    made_by = [comparison.settings["aligned"] for comparison in comparisons if comparison.settings.get("aligned")]
    if any(one == other for one, other in combinations(made_by, 2)):
        raise DataError(
            "two of the comparisons are of the same aligned weights, and one training counted twice says nothing of "
            "another seed. Give one comparison for each training."
        )
    pooled = []
    for judgement in comparisons[0].judgements:
        identity = (judgement.name, judgement.role, judgement.weights)
        if all(any((j.name, j.role, j.weights) == identity for j in other.judgements) for other in comparisons):
            tables = [_by_prompt(comparison, judgement.name) for comparison in comparisons]
            shared = [prompt for prompt in tables[0] if all(prompt in table for table in tables)]
            if len(shared) < 2:
                raise DataError(
                    f"the comparisons share {len(shared)} prompts with scores of {judgement.name}, and pooling needs "
                    "two or more. Compare every training on the same prompts."
                )
            outcomes, gaps = (np.array([[table[p][k] for p in shared] for table in tables]) for k in (0, 1))
            pooled.append(
                PooledJudge(
                    name=judgement.name,
                    role=judgement.role,
                    unit=judgement.unit,
                    win=pool_trainings(outcomes),
                    difference=pool_trainings(gaps, limits=(-np.inf, np.inf)),
                    left_out=len(set().union(*tables)) - len(shared),
                )
            )
    if not pooled:
        raise DataError(
            "the comparisons share no judge of the same name, role and weights. Compare every training with the same "
            "--scorer and --trained-on options."
        )
    return pooled


def _by_prompt(comparison: Comparison, judge: str) -> dict[str, tuple[float, float]]:
    """Returns by prompt the mean outcome (a tie is a half) and the mean difference of its finite comparisons."""
    base, aligned = judge_scores(comparison, judge)
    gaps: dict[str, list[float]] = {}
    for prompt, gap in zip(row_prompts(comparison), (aligned - base).tolist(), strict=True):
        if gap == gap:
            gaps.setdefault(prompt, []).append(gap)
    return {
        prompt: (float(np.mean((np.sign(values) + 1) / 2)), float(np.mean(values))) for prompt, values in gaps.items()
    }

"""More of each judge than its win rate: how large the difference is, and whether it holds by other tests.

Tests count prompts, as samples of one prompt are alike: a prompt's difference is the mean over its samples. Several
held-out judges are several chances of a false finding, so their sign tests are also given after Holm's correction;
trained-on judges are expected to gain, and do not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffalign.evaluation.analysis.judge_scores import judge_scores, row_prompts
from diffalign.evaluation.compare.result import Comparison, Role
from diffalign.evaluation.stats.prompt_groups import prompt_means
from diffalign.evaluation.stats.rates.exact_interval import exact_interval
from diffalign.evaluation.stats.rates.mean_difference import MeanDifference, mean_difference
from diffalign.evaluation.stats.rates.share import percent
from diffalign.evaluation.stats.significance.effect_size import EffectSize, effect_size
from diffalign.evaluation.stats.significance.holm import holm
from diffalign.evaluation.stats.significance.wilcoxon import wilcoxon_test


@dataclass(frozen=True)
class JudgeDetails:
    """More numbers of one judge.

    Args:
        name, role, unit: As in its judgement.
        won, decided: Numbers of prompts that the aligned model wins, and of prompts that are no tie, by the mean
            outcome of their samples.
        exact: The exact 95 % interval of ``won / decided``.
        difference: Mean difference of the scores, aligned minus base, in the judge's unit.
        effect: Sizes of the prompts' differences.
        sign_p: Two-sided sign test over prompts.
        holm_p: The same, corrected for the number of held-out judges; nan for a trained-on judge.
        wilcoxon_p: Two-sided signed-rank test over prompts.
    """

    name: str
    role: Role
    unit: str
    won: int
    decided: int
    exact: tuple[float, float]
    difference: MeanDifference
    effect: EffectSize
    sign_p: float
    holm_p: float
    wilcoxon_p: float

    def __str__(self) -> str:
        change, effect = self.difference, self.effect
        corrected = f", Holm {self.holm_p:.3g}" if math.isfinite(self.holm_p) else ""
        return (
            f"{self.name} ({self.role.replace('-', ' ')}): mean difference {change.value:+.3g} {self.unit} "
            f"({change.low:+.3g} to {change.high:+.3g}), d {effect.d_z:+.2f}, rank {effect.rank_biserial:+.2f}; "
            f"wins {self.won} of {self.decided} prompts (exact {percent(self.exact[0])} to {percent(self.exact[1])}); "
            f"p by sign {self.sign_p:.3g}{corrected}, by Wilcoxon {self.wilcoxon_p:.3g}"
        )


def judge_details(comparison: Comparison) -> list[JudgeDetails]:
    """Returns the details of all judges, in the order of the comparison."""
    held_out = comparison.held_out()
    corrected = dict(zip((j.name for j in held_out), holm([j.win.p_value for j in held_out]), strict=True))
    prompts, details = row_prompts(comparison), []
    for judgement in comparison.judgements:
        base, aligned = judge_scores(comparison, judgement.name)
        outcomes = prompt_means(np.sign(aligned - base), prompts)
        won, lost = int((outcomes > 0).sum()), int((outcomes < 0).sum())
        by_prompt = prompt_means(aligned - base, prompts)
        details.append(
            JudgeDetails(
                name=judgement.name,
                role=judgement.role,
                unit=judgement.unit,
                won=won,
                decided=won + lost,
                exact=exact_interval(won, won + lost),
                difference=mean_difference(aligned, base, prompts),
                effect=effect_size(by_prompt),
                sign_p=judgement.win.p_value,
                holm_p=corrected.get(judgement.name, math.nan),
                wilcoxon_p=wilcoxon_test(by_prompt),
            )
        )
    return details

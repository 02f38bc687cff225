"""Agreement of a judge with people's votes on pairs.

    agreement = mean of [ p if the judge prefers the chosen candidate, 1 - p if the rejected one, 1/2 if neither ]
    ceiling   = mean of max(p, 1 - p)

with ``p`` the share of people who prefer the chosen candidate: the probability that the judge and one more person
agree, and what a judge that knew every vote could reach. Votes that are split evenly say nothing and are left out. Of
plain votes (p = 1) the agreement is the accuracy that papers on reward models print.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from diffalign.evaluation.stats.agreement.cohen_kappa import Kappa, cohen_kappa
from diffalign.evaluation.stats.prompt_groups import number_prompts
from diffalign.evaluation.stats.rates.bootstrap import bootstrap_over_prompts
from diffalign.evaluation.stats.rates.share import share


@dataclass(frozen=True)
class VoteAgreement:
    """How often a judge agrees with people.

    Args:
        rate: The agreement, in [0, 1]; nan without a decided vote.
        low, high: Its 95 % interval: Wilson's for plain votes on distinct prompts, otherwise a bootstrap over prompts.
        ceiling: The best that any judge could reach.
        kappa: Cohen's kappa between the judge and the majority, each pair counted in both orders; None without a vote.
        n: Number of pairs.
        undecided: Pairs left out, because the vote is split evenly or a score is not finite.
    """

    rate: float
    low: float
    high: float
    ceiling: float
    kappa: Kappa | None
    n: int
    undecided: int


def agreement_with_people(
    gaps: Sequence[float], probabilities: Sequence[float], prompts: Sequence[Hashable] | None = None, *, seed: int = 0
) -> VoteAgreement:
    """Compares a judge with votes.

    Args:
        gaps: ``(N,)``, the judge's score of the chosen minus that of the rejected candidate.
        probabilities: ``(N,)``, the share of people who prefer the chosen candidate, in [0, 1].
        prompts: ``(N,)``; None if all are distinct.
        seed: Seed of the bootstrap.
    """
    scores, votes = np.asarray(gaps, np.float64), np.asarray(probabilities, np.float64)
    keep = np.isfinite(scores) & (votes != 0.5)
    if not keep.any():
        return VoteAgreement(math.nan, math.nan, math.nan, math.nan, None, 0, len(votes))
    groups = [
        group for group, kept in zip(range(len(votes)) if prompts is None else prompts, keep, strict=True) if kept
    ]
    scores, votes = scores[keep], votes[keep]
    value = 0.5 + np.sign(scores) * (votes - 0.5)
    cluster, n = number_prompts(groups), len(votes)
    sums, sizes = np.bincount(cluster, value), np.bincount(cluster)
    if len(sizes) == n and np.isin(value, (0.0, 0.5, 1.0)).all():
        interval = share(float(value.sum()), n)
        low, high = interval.low, interval.high
    else:
        low, high = bootstrap_over_prompts(sums, sizes, seed=seed)
    judge, people = (np.sign(numbers).astype(int).tolist() for numbers in (scores, votes - 0.5))
    kappa = cohen_kappa(judge, people, both_orders=True, prompts=groups, seed=seed)
    ceiling = float(np.maximum(votes, 1 - votes).mean())
    return VoteAgreement(float(value.mean()), low, high, ceiling, kappa, n, int((~keep).sum()))

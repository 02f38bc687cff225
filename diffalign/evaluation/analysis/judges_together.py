"""Several judges of one comparison together: whether they agree, and who wins on all of them at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from diffalign.evaluation.analysis.judge_scores import judge_scores, row_prompts
from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.stats.agreement.cohen_kappa import Kappa, cohen_kappa
from diffalign.evaluation.stats.agreement.kendall_tau import kendall_tau
from diffalign.evaluation.stats.objectives.pareto_front import Dominance, dominance
from diffalign.evaluation.stats.rates.share import percent


@dataclass(frozen=True)
class JudgeAgreement:
    """How far two judges agree on a comparison.

    Args:
        first, second: Their names.
        kappa: Of who wins, with ties as a third answer, beyond chance.
        tau: Of how far apart the two samples are: rank correlation of the differences of scores.
    """

    first: str
    second: str
    kappa: Kappa
    tau: float


@dataclass(frozen=True)
class JudgesTogether:
    """Several judges of one comparison.

    Args:
        agreements: One per pair of judges with a common comparison.
        judges: The judges that ``dominance`` counts: the held-out ones if there are two, otherwise all.
        dominance: How often the aligned sample is better by all of them, worse by all, or better by some only.
    """

    agreements: tuple[JudgeAgreement, ...]
    judges: tuple[str, ...]
    dominance: Dominance

    def lines(self) -> list[str]:
        """Returns one line per pair of judges, and one of all together."""
        lines = [
            f"{a.first} and {a.second}: same winner {percent(a.kappa.agreement)}, kappa {a.kappa.value:.2f} "
            f"({a.kappa.low:.2f} to {a.kappa.high:.2f}), tau {a.tau:.2f}"
            for a in self.agreements
        ]
        count = self.dominance
        if count.n:
            better, worse, traded = (percent(n / count.n) for n in (count.better, count.worse, count.traded))
            lines.append(
                f"by {' and '.join(self.judges)} together the aligned sample is better in {better} of {count.n} "
                f"comparisons, worse in {worse}, and a trade-off in {traded}"
            )
        return lines


def judges_together(comparison: Comparison) -> JudgesTogether | None:
    """Returns what several judges say together; None for a single one."""
    names = [judgement.name for judgement in comparison.judgements]
    if len(names) < 2:
        return None
    scores = {name: judge_scores(comparison, name) for name in names}
    gaps = {name: aligned - base for name, (base, aligned) in scores.items()}
    prompts, agreements = row_prompts(comparison), []
    for first, second in combinations(names, 2):
        both = np.isfinite(gaps[first]) & np.isfinite(gaps[second])
        if not both.any():
            continue
        signs = [np.sign(gaps[name][both]).astype(int).tolist() for name in (first, second)]
        kept = [prompt for prompt, is_kept in zip(prompts, both, strict=True) if is_kept]
        kappa = cohen_kappa(signs[0], signs[1], prompts=kept)
        agreements.append(JudgeAgreement(first, second, kappa, kendall_tau(gaps[first], gaps[second])))
    held_out = [judgement.name for judgement in comparison.held_out()]
    judges = held_out if len(held_out) > 1 else names
    base, aligned = (np.stack([scores[name][side] for name in judges], axis=1) for side in (0, 1))
    return JudgesTogether(tuple(agreements), tuple(judges), dominance(aligned, base))

"""Ranking accuracy, likelihood displacement and calibration on held-out pairs, read from the metrics of a run.

The numbers are computed by `losses.diagnostics` and logged as ``eval_ranking/...``, ``eval_displacement/...`` and
``eval_calibration/...``. This module turns those of the last evaluation into a table and sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffalign.evaluation.stats.rates.share import Share, percent, share

MIN_REPORTED_ERROR = 0.15
"""Smallest calibration error that the summary mentions."""
MetricsRow = Mapping[str, Any]


@dataclass(frozen=True)
class RankingAccuracy:
    """Numbers of held-out pairs that policy and reference rank right: the chosen candidate has the higher probability.

    Args:
        pairs: Number of pairs.
        both, gained, lost, neither: Numbers of pairs ranked right by both, by the policy only, by the reference only,
            and by neither.
        ideal: Share of pairs that the best policy for these labels, this reference and this beta would rank right; nan
            if unknown.
        gap: ``ideal`` minus the policy's own share; nan if unknown.
        flip_loss: Mean loss below which a pair that the reference ranks wrong is ranked right; nan without such pairs.
        unreachable: Share of those pairs for which no loss, not even zero, guarantees the right ranking.
    """

    pairs: int
    both: int
    gained: int
    lost: int
    neither: int
    ideal: float
    gap: float
    flip_loss: float
    unreachable: float

    @property
    def flipped(self) -> Share:
        """Share of the pairs ranked wrong by the reference that training flipped, with Wilson's interval."""
        return share(self.gained, self.gained + self.neither)

    def summary(self) -> list[str]:
        """Returns up to two sentences."""
        wrong, sentences = self.gained + self.neither, []
        if wrong:
            flipped = self.flipped
            sentences.append(
                f"The reference ranks {wrong} of {self.pairs} held-out pairs wrong; training flipped {self.gained} of "
                f"these ({percent(flipped.rate)}; 95 % interval {percent(flipped.low)} to {percent(flipped.high)}) and "
                f"unlearnt {self.lost} of the others."
            )
        if math.isfinite(self.gap):
            sentences.append(
                f"The best policy for these labels and this beta would rank {percent(self.ideal)} right, "
                f"{100 * abs(self.gap):.0f} points {'above' if self.gap >= 0 else 'below'} this one."
            )
        return sentences


@dataclass(frozen=True)
class Displacement:
    """Changes of the likelihoods of held-out pairs since before training; nan for unknown values.

    Args:
        gain: Mean change of the chosen candidates' log-probabilities.
        error: Standard error of ``gain``.
        drop: Mean decrease of the rejected candidates' log-probabilities.
        suppression: Share of the margin that comes from the rejected candidates.
        grad_weight: Mean gradient weight of a pair in a logistic loss.
        token_ratio: Mean probability of a chosen token over that of a rejected one.
    """

    gain: float
    error: float
    drop: float
    suppression: float
    grad_weight: float
    token_ratio: float

    def summary(self) -> list[str]:
        """Returns a sentence if the chosen candidates fell significantly while the margin grew."""
        if not self.gain + 2 * self.error < 0 < self.gain + self.drop:
            return []
        return [
            f"Likelihood displacement: on held-out pairs the chosen candidates became less likely than before training "
            f"(by {-self.gain:.3g} on average, +- {2 * self.error:.2g}), while the margin grew because the rejected "
            f"ones fell by {self.drop:.3g}. The probability went to other answers; check the samples."
        ]


@dataclass(frozen=True)
class Calibration:
    """Calibration of the implied probabilities of held-out pairs.

    Args:
        error: Expected calibration error of ``s(reward margin)``, 0 to 1/2.
        factor: The factor on margins that maximises the likelihood; below 1 the margins are overconfident.
    """

    error: float
    factor: float

    def summary(self) -> list[str]:
        """Returns a sentence if the error is large."""
        if not self.error > MIN_REPORTED_ERROR:
            return []
        direction = "overconfident" if self.factor < 1 else "underconfident"
        return [
            f"As probabilities, the reward margins are {direction} by {100 * self.error:.0f} points on average; a "
            f"factor of {self.factor:.2g} would fit best. Their order does not change."
        ]


@dataclass(frozen=True)
class HeldOutNumbers:
    """The numbers of the last evaluation on held-out pairs; None for those that were not logged."""

    ranking: RankingAccuracy | None = None
    displacement: Displacement | None = None
    calibration: Calibration | None = None

    def summary(self) -> list[str]:
        """Returns the sentences of all parts."""
        parts = (self.ranking, self.displacement, self.calibration)
        return [text for part in parts if part is not None for text in part.summary()]


def held_out_numbers(rows: Sequence[MetricsRow]) -> HeldOutNumbers:
    """Reads the numbers of the last evaluation on held-out pairs."""
    last: MetricsRow = next((row for row in reversed(rows) if row.get("eval_pairs")), {})

    def read(name: str) -> float:
        value = last.get(f"eval_{name}")
        return float(value) if isinstance(value, (int, float)) else math.nan

    pairs = round(last.get("eval_pairs", 0))
    counts = [read(f"ranking/{name}") * pairs for name in ("both", "gained", "lost", "neither")]
    ranking = None
    if pairs and all(map(math.isfinite, counts)):
        both, gained, lost, neither = map(round, counts)
        ranking = RankingAccuracy(
            pairs=pairs,
            both=both,
            gained=gained,
            lost=lost,
            neither=neither,
            ideal=read("accuracy/ranking_ideal"),
            gap=read("ranking/gap"),
            flip_loss=read("ranking/flip_loss"),
            unreachable=read("ranking/unreachable"),
        )
    chosen, chosen_error, rejected = (read(f"displacement/{name}") for name in ("chosen", "chosen_error", "rejected"))
    displacement = None
    if math.isfinite(chosen) and math.isfinite(rejected):
        displacement = Displacement(
            gain=chosen,
            error=chosen_error,
            drop=-rejected,
            suppression=read("displacement/suppression"),
            grad_weight=read("displacement/grad_weight"),
            token_ratio=read("displacement/token_ratio"),
        )
    error, factor = read("calibration/error"), read("calibration/factor")
    return HeldOutNumbers(ranking, displacement, Calibration(error, factor) if math.isfinite(error) else None)

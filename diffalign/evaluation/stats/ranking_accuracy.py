"""Ranking and displacement of a run, read from its metrics: what the last look at held-out pairs says of probabilities.

The numbers are made by `losses.ranking`, `losses.monitors` and `losses.calibration` and logged as ``eval_ranking/...``,
``eval_displacement/...`` and ``eval_calibration/...``; here they become a table and sentences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffalign.evaluation.stats.statistics import Share, percent, share

TELLING = 0.15
"""A calibration error from which on it is told."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ranking:
    """Who ranks held-out pairs right.

    Args:
        pairs: How many there are.
        both, gained, lost, neither: Counts: right by reference and policy, by the policy alone, by the reference
            alone, by nobody.
        ideal: Share of pairs that the best policy for these labels, this reference and this beta would rank right; nan
            where it is not known.
        gap: ``ideal`` minus the policy's own share; nan where it is not known.
        flip_loss: Mean loss below which a pair that the reference ranks wrong is ranked right; nan where none is.
        unreachable: Share of those pairs that no loss, not even zero, promises to rank right.
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
        """Of the pairs that the reference ranks wrong, those that training flipped, with Wilson's interval."""
        return share(self.gained, self.gained + self.neither)

    def summary(self) -> list[str]:
        """A sentence or two."""
        wrong, told = self.gained + self.neither, []
        if wrong:
            found = self.flipped
            told.append(
                f"The reference ranks {wrong} of {self.pairs} held-out pairs wrong; training flipped {self.gained} of "
                f"these ({percent(found.rate)}; 95 % interval {percent(found.low)} to {percent(found.high)}) and "
                f"unlearnt {self.lost} of the others."
            )
        if math.isfinite(self.gap):
            told.append(
                f"The best policy for these labels and this beta would rank {percent(self.ideal)} right, "
                f"{100 * abs(self.gap):.0f} points {'above' if self.gap >= 0 else 'below'} this one."
            )
        return told


@dataclass(frozen=True)
class Moved:
    """Where training moved the likelihoods of held-out pairs, and what may follow; nan for what is not known.

    Args:
        gain: Mean change of the chosen candidates' log-probabilities.
        error: The standard error of that mean.
        drop: Mean fall of the rejected ones'.
        suppression: Share of the margin that comes from the rejected ones.
        grad_weight: How hard a pair still pulls, on average.
        token_ratio: Mean probability of a chosen token over that of a rejected one.
    """

    gain: float
    error: float
    drop: float
    suppression: float
    grad_weight: float
    token_ratio: float

    def summary(self) -> list[str]:
        """A sentence where something is amiss."""
        if not self.gain + 2 * self.error < 0 < self.gain + self.drop:
            return []
        return [
            f"Likelihood displacement: on held-out pairs the chosen candidates became less likely than before training "
            f"(by {-self.gain:.3g} on average, +- {2 * self.error:.2g}), while the margin grew because the rejected "
            f"ones fell by {self.drop:.3g}. The probability went to answers in neither; look at the samples."
        ]


@dataclass(frozen=True)
class Calibrated:
    """What the implied probabilities of held-out pairs are worth.

    Args:
        error: Expected calibration error of ``s(reward margin)``, 0 to 1/2.
        factor: The factor on margins that would make them likeliest; below 1 they are too sure.
    """

    error: float
    factor: float

    def summary(self) -> list[str]:
        """A sentence where the error is large."""
        if not self.error > TELLING:
            return []
        way = "too sure" if self.factor < 1 else "not sure enough"
        return [
            f"Read as probabilities, the reward margins are {way} by {100 * self.error:.0f} points on average; times "
            f"{self.factor:.2g} they would fit best. Their order is not touched by this."
        ]


@dataclass(frozen=True)
class HeldOutNumbers:
    """All of the last look; None where it says nothing of one."""

    ranking: Ranking | None = None
    moved: Moved | None = None
    calibrated: Calibrated | None = None

    def summary(self) -> list[str]:
        """What is worth saying of them."""
        return [
            text for part in (self.ranking, self.moved, self.calibrated) if part is not None for text in part.summary()
        ]


def held_out_numbers(rows: Sequence[Row]) -> HeldOutNumbers:
    """Those of the last record with a look at held-out pairs."""
    last: Row = next((row for row in reversed(rows) if row.get("eval_pairs")), {})

    def read(name: str) -> float:
        value = last.get(f"eval_{name}")
        return float(value) if isinstance(value, (int, float)) else math.nan

    pairs = round(last.get("eval_pairs", 0))
    counts = [read(f"ranking/{name}") * pairs for name in ("both", "gained", "lost", "neither")]
    ranking = None
    if pairs and all(map(math.isfinite, counts)):
        both, gained, lost, neither = map(round, counts)
        ranking = Ranking(
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
    gain, error, fall = (read(f"displacement/{name}") for name in ("chosen", "chosen_error", "rejected"))
    further = [read(f"displacement/{name}") for name in ("suppression", "grad_weight", "token_ratio")]
    moved = Moved(gain, error, -fall, *further) if math.isfinite(gain) and math.isfinite(fall) else None
    error, factor = read("calibration/error"), read("calibration/factor")
    return HeldOutNumbers(ranking, moved, Calibrated(error, factor) if math.isfinite(error) else None)

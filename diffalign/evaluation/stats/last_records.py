"""The end of a run's curves: the records over which its diagnosis, its charts and its report all take their means."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from diffalign.evaluation.stats.rates.share import Share, share

WINDOW = 10
"""Number of records in a mean at the end of a run."""
ENOUGH_PAIRS = 30
"""Pairs below which an accuracy allows no verdict, however good or bad it looks."""
ACCURACY, PAIRS = "accuracy/level_", "pairs/level_"
NOISE = "noise/level_"


@dataclass(frozen=True)
class LevelAccuracy:
    """The accuracy of one range of noise levels over the last records.

    Args:
        name: The range, as a share of the schedule: ``"0.2-0.4"``.
        rate: Share of pairs whose chosen candidate the policy favours.
        share: The same with its 95 % interval; None for records that do not say how many pairs they are about.
    """

    name: str
    rate: float
    share: Share | None

    @property
    def verdict(self) -> str:
        """``"learned"``, ``"lost"``, ``"at chance"``, or ``""`` where the pairs are too few to tell."""
        if self.share is None or self.share.n < ENOUGH_PAIRS:
            return ""
        if self.share.low > 0.5:
            return "learned"
        if self.share.high < 0.5:
            return "lost"
        return "at chance" if self.share.high - self.share.low < 0.25 else ""

    def __str__(self) -> str:
        if self.share is None:
            return f"{self.name}: {self.rate:.2f}"
        few = ", too few to tell" if self.share.n < ENOUGH_PAIRS else ""
        return f"{self.name}: {self.rate:.2f} of {self.share.n:,} pairs{few}"


def accuracy_by_level(records: Sequence[Mapping[str, Any]]) -> list[LevelAccuracy]:
    """Returns the accuracies of all ranges that occur in the last :data:`WINDOW` records, each pair counting once."""
    last = records[-WINDOW:]
    names = sorted({name.removeprefix(ACCURACY) for record in last for name in record if name.startswith(ACCURACY)})
    found = []
    for name in names:
        rows = [(record[ACCURACY + name], record.get(PAIRS + name)) for record in last if ACCURACY + name in record]
        rates = [float(rate) for rate, _ in rows if isinstance(rate, (int, float)) and 0 <= rate <= 1]
        counted = [(float(rate), int(pairs)) for rate, pairs in rows if pairs and 0 <= rate <= 1]
        if counted and len(counted) == len(rates):
            pairs = sum(count for _, count in counted)
            whole = share(sum(rate * count for rate, count in counted), pairs)
            found.append(LevelAccuracy(name, whole.rate, whole))
        elif rates:
            found.append(LevelAccuracy(name, sum(rates) / len(rates), None))
    return found


def noise_by_level(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the rms of the inverted latents' noise in each range of levels, a mean over the last :data:`WINDOW`
    records.
    """
    last = records[-WINDOW:]
    names = sorted({name.removeprefix(NOISE) for record in last for name in record if name.startswith(NOISE)})
    values = {name: [float(row[NOISE + name]) for row in last if _is_finite(row.get(NOISE + name))] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items() if found}


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)

"""Means over the records of a run with their standard errors, and their changes from one window to the next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

Record = Mapping[str, float]


@dataclass(frozen=True)
class Mean:
    """A mean over records, with its standard error."""

    value: float
    error: float

    @staticmethod
    def of(records: Sequence[Record], name: str) -> Mean:
        """Returns the mean over those records that have the name; not-a-number when none has."""
        values = [record[name] for record in records if name in record]
        if not values:
            return Mean(math.nan, math.nan)
        return Mean(fmean(values), stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf)

    def above(self, bound: float) -> bool:
        """Returns whether the mean is above the bound by two standard errors."""
        return self.value - 2 * self.error > bound

    def below(self, bound: float) -> bool:
        """Returns whether the mean is below the bound by two standard errors."""
        return self.value + 2 * self.error < bound


def change(records: Sequence[Record], name: str, window: int) -> Mean:
    """Returns the mean of the last ``window`` records minus the mean of as many before them.

    Not-a-number, so neither above nor below any bound, where there are fewer than two windows.
    """
    if len(records) < 2 * window:
        return Mean(math.nan, math.nan)
    after, before = Mean.of(records[-window:], name), Mean.of(records[-2 * window : -window], name)
    return Mean(after.value - before.value, math.hypot(after.error, before.error))

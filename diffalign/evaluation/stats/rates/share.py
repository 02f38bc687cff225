"""A share of a count with its 95 % Wilson interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.959963984540054  # two-sided 95 %


@dataclass(frozen=True)
class Share:
    """A share of ``n`` with its 95 % Wilson interval; all nan if ``n`` is 0."""

    rate: float
    low: float
    high: float
    hits: float
    n: int


def percent(value: float) -> str:
    """Returns for example ``"64 %"``; a dash for nan."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else "–"


def share(hits: float, n: int) -> Share:
    """Returns the share ``hits / n`` with its 95 % Wilson interval.

        centre = (p + z^2 / 2n) / (1 + z^2 / n),    half width = z sqrt(p (1 - p) / n + z^2 / 4n^2) / (1 + z^2 / n)

    Source: Wilson 1927, JASA 22; unlike the usual normal interval it stays in [0, 1] and has a width at 0 and n hits.
    """
    if n == 0:
        return Share(math.nan, math.nan, math.nan, hits, n)
    p, z2 = hits / n, Z * Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and n hits the formula's bound is exactly 0 or 1, except for rounding.
    return Share(
        p, 0.0 if hits == 0 else max(0.0, centre - half), 1.0 if hits == n else min(1.0, centre + half), hits, n
    )

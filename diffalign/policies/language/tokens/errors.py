"""Problems: what is said of pairs that cannot become tokens."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError

SHOWN = 5
"""Problems that are named; of the others the number is told."""


def problem_of(pair: Pair, error: DataError) -> str:
    """What is wrong with a pair, and where it stands."""
    return f"pair '{pair.id}'{f' ({pair.source})' if pair.source else ''}: {error}"


def problems_of(problems: Sequence[str], rows: int, failed: int | None = None) -> str:
    """The first problems of ``rows`` rows, and how many more there are."""
    failed = len(problems) if failed is None else failed
    if failed == 1:
        return problems[0]
    more = [f"... and {failed - SHOWN:,} more"] if failed > SHOWN else []
    return "\n  ".join([f"{failed:,} of {rows:,} rows cannot be trained on:", *problems[:SHOWN], *more])

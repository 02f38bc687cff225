"""Error messages for pairs that cannot become tokens."""

from __future__ import annotations

from collections.abc import Sequence

from diffalign.data.records.pair import Pair
from diffalign.errors import DataError

MAX_SHOWN = 5
"""Number of problems that a message spells out; the others are only counted."""


def describe_problem(pair: Pair, error: DataError) -> str:
    """Returns what is wrong with a pair, with its id and its place in the data."""
    return f"pair '{pair.id}'{f' ({pair.source})' if pair.source else ''}: {error}"


def summarize_problems(problems: Sequence[str], rows: int, failed: int | None = None) -> str:
    """Returns the first problems of ``rows`` rows, and the number of the other ones."""
    failed = len(problems) if failed is None else failed
    if failed == 1:
        return problems[0]
    more = [f"... and {failed - MAX_SHOWN:,} more"] if failed > MAX_SHOWN else []
    return "\n  ".join([f"{failed:,} of {rows:,} rows cannot be trained on:", *problems[:MAX_SHOWN], *more])

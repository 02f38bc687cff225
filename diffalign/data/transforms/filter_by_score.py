"""Filtering: numbers found for each pair, put beside it, and the pairs kept by one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from diffalign.data.readers.rows_with_columns import PairRow
from diffalign.data.records.pair import FILTERED, Dropped
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import UserError

SHOWN = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}
"""Quantiles that a report shows."""


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Smallest, largest and what lies between, by name."""
    found = np.quantile(np.asarray(values, dtype=np.float64), list(SHOWN.values()))
    return dict(zip(SHOWN, found.tolist(), strict=True))


def quantile_table(rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A line of quantiles for each number, under a heading: ``rows`` are numbers by name, by pair."""
    names = list(next(iter(rows.values())))
    width = max(map(len, names))
    lines = [f"{'':<{width}}" + "".join(f"{name:>11}" for name in SHOWN)]
    for name in names:
        found = quantiles([row[name] for row in rows.values()])
        lines.append(f"{name:<{width}}" + "".join(f"{value:>11.4g}" for value in found.values()))
    return lines


def lowest_indices(values: Sequence[float], share: float) -> list[int]:
    """Which of ``values`` are the lowest ``share`` of them, at least one, in their order; of equals the first."""
    count = max(1, round(share * len(values)))
    order = sorted(range(len(values)), key=lambda place: values[place])
    return sorted(order[:count])


def share_to_keep(keep_lowest: float | None, drop_top: float | None) -> float | None:
    """The share of pairs to keep that two options ask for; None keeps all.

    Raises:
        UserError: both of them, or a share outside (0, 1).
    """
    if keep_lowest is not None and drop_top is not None:
        raise UserError("--keep-lowest and --drop-top say the same in two ways. Give one of them.")
    for name, value in (("--keep-lowest", keep_lowest), ("--drop-top", drop_top)):
        if value is not None and not 0.0 < value < 1.0:
            raise UserError(f"{name} is a share of the pairs, above 0 and below 1; got {value:g}.")
    return keep_lowest if keep_lowest is not None else None if drop_top is None else 1.0 - drop_top


def filter_by_score(
    lines: Sequence[PairRow], rows: Mapping[str, Mapping[str, float]], by: str = "", share: float | None = None
) -> TransformResult:
    """The lines with their numbers among those of their pair; of these the lowest ``share``.

    Args:
        lines: Lines of pairs.
        rows: Numbers by name, by pair id, of every line.
        by: The number that decides.
        share: Of the lines to keep, in (0, 1); None keeps all.
    """
    if share is None:
        return TransformResult(with_numbers(lines, rows))
    values = [rows[line.pair.id][by] for line in lines]
    kept = set(lowest_indices(values, share))
    outcome = TransformResult(with_numbers((line for place, line in enumerate(lines) if place in kept), rows))
    for place, value in enumerate(values):
        if place not in kept:
            source = lines[place].pair.source or lines[place].pair.id
            outcome.dropped.append(Dropped(source, FILTERED, f"{by} {value:.4g}"))
    return outcome


def with_numbers(lines: Iterable[PairRow], rows: Mapping[str, Mapping[str, float]]) -> Iterator[PairRow]:
    """The lines, their numbers among those that belong to the pair."""
    for line in lines:
        scores = line.pair.scores
        numbers = {**scores.get("pair", {}), **rows[line.pair.id]}
        yield PairRow(replace(line.pair, scores={**scores, "pair": numbers}), line.columns)

"""Adds computed numbers to pairs, and filters the pairs by one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import FILTERED, Dropped
from diffalign.data.transforms.result import TransformResult
from diffalign.errors import UserError

QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "median": 0.5, "75%": 0.75, "95%": 0.95, "max": 1.0}
"""Quantiles of a report."""


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Returns the quantiles :data:`QUANTILES` by name."""
    computed = np.quantile(np.asarray(values, dtype=np.float64), list(QUANTILES.values()))
    return dict(zip(QUANTILES, computed.tolist(), strict=True))


def quantile_table(numbers: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Returns a text table with the quantiles of each number, from ``{pair id: {name: number}}``."""
    names = list(next(iter(numbers.values())))
    width = max(map(len, names))
    table = [f"{'':<{width}}" + "".join(f"{name:>11}" for name in QUANTILES)]
    for name in names:
        values = quantiles([of_pair[name] for of_pair in numbers.values()]).values()
        table.append(f"{name:<{width}}" + "".join(f"{value:>11.4g}" for value in values))
    return table


def lowest_indices(values: Sequence[float], share: float) -> list[int]:
    """Returns the indices of the lowest ``share`` of the values, at least one, in order; of equals the first."""
    count = max(1, round(share * len(values)))
    order = sorted(range(len(values)), key=lambda index: values[index])
    return sorted(order[:count])


def share_to_keep(keep_lowest: float | None, drop_top: float | None) -> float | None:
    """Returns the share of pairs to keep, from either option; None keeps all.

    Raises:
        UserError: Both are given, or a share lies outside (0, 1).
    """
    if keep_lowest is not None and drop_top is not None:
        raise UserError("--keep-lowest and --drop-top exclude each other. Give one of them.")
    for name, value in (("--keep-lowest", keep_lowest), ("--drop-top", drop_top)):
        if value is not None and not 0.0 < value < 1.0:
            raise UserError(f"{name} is a share of the pairs, above 0 and below 1; got {value:g}.")
    return keep_lowest if keep_lowest is not None else None if drop_top is None else 1.0 - drop_top


def filter_by_score(
    rows: Sequence[PairRow], numbers: Mapping[str, Mapping[str, float]], by: str = "", share: float | None = None
) -> TransformResult:
    """Adds numbers to the pairs, and keeps the lowest ``share`` of the rows.

    Args:
        rows: The pairs.
        numbers: ``{pair id: {name: number}}``, for every pair.
        by: The number to filter by.
        share: Share of the rows to keep, in (0, 1); None keeps all.
    """
    if share is None:
        return TransformResult(with_numbers(rows, numbers))
    values = [numbers[row.pair.id][by] for row in rows]
    kept = set(lowest_indices(values, share))
    result = TransformResult(with_numbers((row for index, row in enumerate(rows) if index in kept), numbers))
    for index, value in enumerate(values):
        if index not in kept:
            source = rows[index].pair.source or rows[index].pair.id
            result.dropped.append(Dropped(source, FILTERED, f"{by} {value:.4g}"))
    return result


def with_numbers(rows: Iterable[PairRow], numbers: Mapping[str, Mapping[str, float]]) -> Iterator[PairRow]:
    """Yields the rows with their numbers added to those of the pair."""
    for row in rows:
        scores = row.pair.scores
        pair_numbers = {**scores.get("pair", {}), **numbers[row.pair.id]}
        yield PairRow(replace(row.pair, scores={**scores, "pair": pair_numbers}), row.columns)

"""Mean scores by category of the prompts: one table per column of categories, the last row over all samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffalign.evaluation.stats.rates.win_rate import win_rate
from evaluators.shared.scores import Scores
from evaluators.shared.sides import Sides
from evaluators.shared.table import Table, mean_of


def category_tables(
    scores: Scores, sides: Sides, columns: Sequence[str], *, scale: float = 1.0, digits: int = 4, note: str = ""
) -> list[Table]:
    """Returns a table for each column that the prompts have; one without categories where they have none of them.

    Args:
        scores: Scores by judge and side.
        sides: The samples.
        columns: Columns of categories.
        scale: Factor on scores: papers print cosines times 100.
        digits: Digits after the point.
        note: A sentence below each table.
    """
    present = [column for column in columns if values_of(sides, column)]
    return [
        Table(
            f"Mean scores by {column}" if column else "Mean scores",
            ["category", "samples", *head(scores, sides)],
            [
                *(
                    [value, len(numbers), *cells(scores, sides, numbers, scale, digits)]
                    for value, numbers in values_of(sides, column).items()
                ),
                ["all", len(all_of(sides)), *cells(scores, sides, all_of(sides), scale, digits)],
            ],
            note,
        )
        for column in present or [""]
    ]


def head(scores: Scores, sides: Sides) -> list[str]:
    """Returns the names of the columns of :func:`cells`."""
    names = []
    for judge in scores:
        names += [judge] if len(sides) == 1 else [*(f"{judge}, {side}" for side in sides), f"{judge}, aligned wins"]
    return names


def cells(scores: Scores, sides: Sides, numbers: Sequence[int], scale: float, digits: int) -> list[Any]:
    """Returns for each judge the mean of each side over some samples, and with two sides the rate of aligned wins."""
    gallery = next(iter(sides.values()))
    prompts = [gallery.samples[number].prompt for number in numbers]
    row: list[Any] = []
    for by_side in scores.values():
        picked = {side: [by_side[side][number] for number in numbers] for side in sides}
        row += [mean_of(values, prompts, scale=scale, digits=digits) for values in picked.values()]
        if len(sides) > 1:
            row.append(win_rate(picked["aligned"], picked["base"], prompts))
    return row


def values_of(sides: Sides, column: str) -> dict[str, list[int]]:
    """Returns for each value of a column the numbers of its samples, in the order of the suite."""
    found: dict[str, list[int]] = {}
    for number, sample in enumerate(next(iter(sides.values())).samples):
        for value in sample.categories.get(column, ()):
            found.setdefault(value, []).append(number)
    return found


def all_of(sides: Sides) -> list[int]:
    """Returns the numbers of all samples."""
    return list(range(len(next(iter(sides.values())).samples)))

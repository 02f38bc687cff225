"""Tables of results: cells with their numbers, as Markdown for a terminal, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np

from diffalign.evaluation.compare.result import plain_json
from diffalign.evaluation.stats.rates.bootstrap import bootstrap_over_prompts
from diffalign.evaluation.stats.rates.share import Share
from diffalign.evaluation.stats.rates.win_rate import WinRate


@dataclass(frozen=True)
class Mean:
    """A mean with its 95 % interval, by resampling prompts; the interval is nan with a single prompt.

    Args:
        value, low, high: Mean and interval, in the unit of what is averaged.
        n: Number of values; those that are not finite are left out.
        digits: Digits to show after the point.
    """

    value: float
    low: float
    high: float
    n: int
    digits: int = 4


@dataclass(frozen=True)
class Rate:
    """A share without an interval, such as a mean of shares."""

    rate: float


@dataclass(frozen=True)
class Table:
    """A table of results.

    Args:
        title: What it shows.
        head: Names of the columns.
        rows: Cells: texts, integers, numbers, `Mean`, `Rate`, `Share` or `WinRate`.
        note: A sentence below it.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Returns title, note and one object per row, with all numbers of a cell."""
        rows = [
            {
                name: asdict(cell) if is_dataclass(cell) and not isinstance(cell, type) else cell
                for name, cell in zip(self.head, row, strict=True)
            }
            for row in self.rows
        ]
        return plain_json({"title": self.title, "note": self.note, "rows": rows})

    def text(self) -> str:
        """Returns the table as Markdown with its title and note."""
        cells = [list(map(_in_table, self.head)), *([_in_table(show_cell(cell)) for cell in row] for row in self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.head))]
        lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
        lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
        return "\n".join([self.title, "", *lines, *([self.note] if self.note else [])])


def _in_table(text: str) -> str:
    """Returns a text as one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def mean_of(values: Sequence[float], prompts: Sequence[Hashable], *, scale: float = 1.0, digits: int = 4) -> Mean:
    """Returns the mean of ``values * scale`` with an interval from resampling whole prompts."""
    kept = [(scale * value, prompt) for value, prompt in zip(values, prompts, strict=True) if math.isfinite(value)]
    if not kept:
        return Mean(math.nan, math.nan, math.nan, 0, digits)
    numbers = {prompt: number for number, prompt in enumerate(dict.fromkeys(prompt for _, prompt in kept))}
    cluster = np.array([numbers[prompt] for _, prompt in kept])
    array = np.array([value for value, _ in kept])
    value, interval = float(array.mean()), (math.nan, math.nan)
    if len(numbers) > 1:
        interval = bootstrap_over_prompts(np.bincount(cluster, array), np.bincount(cluster).astype(float))
    return Mean(value, *interval, n=len(kept), digits=digits)


def show_cell(cell: Any) -> str:
    """Returns a cell as text."""
    if isinstance(cell, Mean):
        if not cell.n:
            return "–"
        interval = f" ({cell.low:.{cell.digits}f} to {cell.high:.{cell.digits}f})" if math.isfinite(cell.low) else ""
        return f"{cell.value:.{cell.digits}f}{interval}"
    if isinstance(cell, (Share, WinRate)):
        return f"{_percent(cell.rate)} ({_percent(cell.low)} to {_percent(cell.high)})" if _count(cell) else "–"
    if isinstance(cell, Rate):
        return _percent(cell.rate) if math.isfinite(cell.rate) else "–"
    if isinstance(cell, float):
        return f"{cell:.4g}" if math.isfinite(cell) else "–"
    return str(cell)


def _count(cell: Share | WinRate) -> int:
    return cell.n if isinstance(cell, Share) else cell.comparisons


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"

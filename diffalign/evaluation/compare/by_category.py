"""Win rates of a comparison by the categories of its prompts, as suites state them."""

from __future__ import annotations

from dataclasses import dataclass

from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.stats.rates.share import percent
from diffalign.evaluation.stats.rates.win_rate import WinRate, win_rate


@dataclass(frozen=True)
class CategoryWins:
    """The win rates on the prompts of one category.

    Args:
        column: Column of the suite: ``"style"``.
        value: One of its values: ``"anime"``.
        prompts: Number of prompts with it.
        wins: Judge to win rate; the judges are in the order of the comparison.
    """

    column: str
    value: str
    prompts: int
    wins: dict[str, WinRate]


def win_rates_by_category(comparison: Comparison) -> list[CategoryWins]:
    """Returns the win rates of each category, in the order of the suite; none where the prompts have no categories.

    A prompt with several values in a column counts for each. Categories in which no judge has a pair of finite scores
    are left out.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for number, row in enumerate(comparison.rows):
        for column, values in (row.get("categories") or {}).items():
            for value in values:
                groups.setdefault((column, value), []).append(number)
    columns = list(dict.fromkeys(column for column, _ in groups))
    found = []
    for (column, value), numbers in sorted(groups.items(), key=lambda group: columns.index(group[0][0])):
        rows = [comparison.rows[number] for number in numbers]
        prompts = [row["prompt"] for row in rows]
        wins = {}
        for judgement in comparison.judgements:
            pairs = [row["scores"][judgement.name] for row in rows]
            finite = [(pair, prompt) for pair, prompt in zip(pairs, prompts, strict=True) if _is_finite(pair)]
            if finite:
                kept = [prompt for _, prompt in finite]
                wins[judgement.name] = win_rate([p[1] for p, _ in finite], [p[0] for p, _ in finite], kept)
        if wins:
            found.append(CategoryWins(column, value, len(set(prompts)), wins))
    return found


def category_lines(comparison: Comparison) -> list[str]:
    """Returns one line per category for a terminal: its prompts, and each judge's rate with its interval."""
    lines = []
    for row in win_rates_by_category(comparison):
        cells = [
            f"{name} {percent(win.rate)} ({percent(win.low)} to {percent(win.high)})" for name, win in row.wins.items()
        ]
        lines.append(f"{row.column} {row.value} ({row.prompts} prompts): {', '.join(cells)}")
    return lines


def _is_finite(pair: list[float | None]) -> bool:
    return all(value is not None and abs(value) < float("inf") for value in pair)

"""What is said of examples without a score, after all others are scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diffalign.evaluation.scoring.example import Examples
from diffalign.evaluation.scoring.score_log import ScoreLog

MOST_NAMED = 20
"""Samples that a message names."""


def sentences(examples: Examples, logs: Sequence[ScoreLog]) -> Iterator[str]:
    """Yields a sentence for each example without a score, with the scorers that gave none where others did."""
    numbers = {number for log in logs for number in log.problems}
    for number, example in enumerate(examples) if numbers else ():
        reasons: dict[str, list[str]] = {}
        for log in logs:
            if number in log.problems:
                reasons.setdefault(log.problems[number], []).append(log.spec)
        for reason, specs in reasons.items():
            place = "" if example.name in reason else f"{example.name}: "
            by = f" ({', '.join(specs)})" if len(specs) < len(logs) else ""
            yield f"{place}{reason.rstrip('.')}{by}."


def bad_samples_message(bad: Sequence[str], written: str, noun: str = "sample", advice: str = "") -> str:
    """Returns the message: how many, where the others' scores are, what to do, and the first of them."""
    more = f" ... and {len(bad) - MOST_NAMED:,} more." if len(bad) > MOST_NAMED else ""
    count = f"{len(bad):,} {noun}{'s' * (len(bad) != 1)} could not be scored"
    again = "Replace or remove them and run the same command again, which scores only what is missing."
    return f"{count}; the scores of the others are in {written}. {again} {advice}".rstrip() + (
        f" {' '.join(bad[:MOST_NAMED])}{more}"
    )

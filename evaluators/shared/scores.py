"""Scores of the samples of all sides by all judges, by the judges' display names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.cli.progress_line import show_progress
from diffalign.errors import DataError, UserError
from diffalign.evaluation.compare.load_judges import check_judges, load_judges
from diffalign.evaluation.scoring.bad_samples import MOST_NAMED, sentences
from diffalign.evaluation.scoring.example import Example
from diffalign.evaluation.scoring.score_samples import pass_over
from diffalign.evaluation.scoring.sources import Samples
from diffalign.files.write_errors import explain_write_errors
from diffalign.scorers.scorer import Scorer
from evaluators.shared.answers import Item, items_of, with_own_id
from evaluators.shared.sides import Sides

Scores = dict[str, dict[str, list[float]]]
"""Judge, then side, to the scores of its samples in their order; nan where a sample could not be scored."""


def open_judges(args: argparse.Namespace, prompts: Sequence[Any], medium: str) -> dict[str, Scorer]:
    """Loads the judges of ``--scorer`` by their display names, and checks that they can judge these prompts.

    Raises:
        UserError: There is none, or one cannot be loaded, is of another medium, or cannot judge a prompt.
    """
    if not args.scorer:
        raise UserError("this program needs a judge. Type for example: --scorer clip")
    judges = load_judges(args.scorer, (), args.device)
    check_judges(judges, prompts, medium)
    return {name: scorer for name, (scorer, _) in judges.items()}


def score_sides(args: argparse.Namespace, sides: Sides, judges: Mapping[str, Scorer]) -> Scores:
    """Scores all samples. Scores are kept batch by batch in ``scores`` of the output."""
    by_side = {
        side: score_items(args, items_of(gallery), judges, side, gallery.medium) for side, gallery in sides.items()
    }
    return {name: {side: by_side[side][name] for side in sides} for name in judges}


def score_items(
    args: argparse.Namespace, items: Sequence[Item], judges: Mapping[str, Scorer], side: str, medium: str
) -> dict[str, list[float]]:
    """Scores items by all judges in one pass, and keeps the scores in ``scores/SIDE.JUDGE.part``.

    Each item is decoded once. One that a judge cannot score is named, and has the score nan.

    Args:
        args: The program's options.
        items: The samples.
        judges: By the names that the result has.
        side: What the items are, for files and messages.
        medium: Medium of the samples.

    Raises:
        DataError: A judge could score none of them.
    """
    examples = [
        Example(item.id, item.id.rpartition(" ")[0], ((item.prompt, item.content),)) for item in map(with_own_id, items)
    ]
    samples, folder = Samples(args.output, medium, lambda: iter(examples)), args.output / "scores"
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    logs = pass_over(
        samples,
        judges,
        folder / side,
        batch=args.batch,
        progress=lambda what, done, total: show_progress(f"{side}, {what}", done, total),
    )
    bad = list(sentences(samples, logs))
    for line in _named(side, bad):
        print(line, flush=True)
    if mute := next((log for log in logs if len(examples) and len(log.missing()) == len(examples)), None):
        raise DataError(f"{mute.spec} could score none of {len(examples):,} samples ({side}). {bad[0]}")
    return {log.spec: log.values[:, 0].tolist() for log in logs}


def _named(side: str, bad: Sequence[str]) -> Iterator[str]:
    if bad:
        yield f"{side}: {len(bad):,} sample{'s' * (len(bad) > 1)} could not be scored; the numbers leave them out:"
        yield from (f"  {sentence}" for sentence in bad[:MOST_NAMED])
    if len(bad) > MOST_NAMED:
        yield f"  ... and {len(bad) - MOST_NAMED:,} more."


def score_file(output: Path, side: str, name: str) -> Path:
    """Returns the file of one judge's answers on pairs."""
    return output / "scores" / f"{side}-{re.sub(r'[^A-Za-z0-9.-]+', '_', name)[-80:]}.jsonl"

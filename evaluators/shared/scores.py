"""Scores of the samples of all sides by all judges, by the judges' display names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffalign.errors import UserError
from diffalign.evaluation.compare.load_judges import check_judges, load_judges
from diffalign.scorers.scorer import Scorer
from evaluators.shared.answers import Item, answer_all, items_of
from evaluators.shared.sides import Sides

Scores = dict[str, dict[str, list[float]]]
"""Judge, then side, to the scores of its samples in their order."""


def open_judges(args: argparse.Namespace, prompts: Sequence[str], medium: str) -> dict[str, Scorer]:
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
    return {
        name: {side: score_items(args, items_of(gallery), scorer, side) for side, gallery in sides.items()}
        for name, scorer in judges.items()
    }


def score_items(args: argparse.Namespace, items: Sequence[Item], scorer: Scorer, side: str) -> list[float]:
    """Scores items by one judge, and keeps the scores in ``scores/SIDE-JUDGE``."""

    def score(part: list[Item]) -> list[dict[str, float]]:
        values = scorer.score([item.prompt for item in part], [item.content for item in part]).tolist()
        return [{"score": value} for value in values]

    rows = answer_all(
        items,
        score,
        score_file(args.output, side, scorer.name),
        {"scorer": scorer.name, "weights": scorer.weights, "preprocessing": getattr(scorer, "preprocessing", "")},
        what=f"{side} scored by {scorer.name}",
        batch=args.batch,
    )
    return [float("nan") if row["score"] is None else float(row["score"]) for row in rows]


def score_file(output: Path, side: str, name: str) -> Path:
    """Returns the file of one judge's scores of one side."""
    return output / "scores" / f"{side}-{re.sub(r'[^A-Za-z0-9.-]+', '_', name)[-80:]}.jsonl"

"""Scores a folder of images, clips or texts and writes the scores into its ``metadata.jsonl``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.data.readers.tables import Table
from diffalign.data.records.conversation import Conversation, Text
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.gallery import bad_row, metadata_rows, read_gallery
from diffalign.evaluation.samples.medium import MEDIA, Medium
from diffalign.files.json_lines import write_json_lines
from diffalign.scorers import SCORERS, check_companions, load_scorer, scorer_medium

_COLUMNS = "prompt and completion"


def is_sample_folder(source: str | Path) -> bool:
    """Checks whether ``source`` is a folder of single samples and not of pairs: its ``metadata.jsonl`` has
    ``file_name`` or ``completion``, and no vote.
    """
    path = Path(source).expanduser() / "metadata.jsonl"
    columns = set(Table(path).columns) if path.is_file() else set()
    votes = {"rejected_file_name", "rejected", "label"}
    return bool({"file_name", "completion"} & columns) and not votes & columns


def score_folder(folder: Path, specs: Sequence[str], device: str = "cpu") -> list[str]:
    """Scores every sample of a folder with ``metadata.jsonl`` against its prompt.

    Each row gains ``scores: {scorer: number}``; earlier scores of other scorers stay. The file is replaced at the end.

    Args:
        folder: Images, clips or texts with ``metadata.jsonl`` (``file_name``, ``prompt``), or only that file if its
            rows hold the texts (``completion``, ``prompt``).
        specs: Scorers, ``NAME`` or ``NAME:ARGUMENT``.
        device: Device of the scorers.

    Returns:
        One line per scorer: mean, standard error, unit.

    Raises:
        DataError: No metadata, a missing sample, or no sample at all.
        UserError: An unknown scorer, or one of another medium, or one that is never used alone.
    """
    check_companions(specs)
    path = Path(folder) / "metadata.jsonl"
    medium, prompts, contents = _samples(Path(folder))
    for spec in specs:
        scored_medium = scorer_medium(spec)
        if scored_medium != medium:
            fitting = [name for name, row in SCORERS.items() if row.medium == medium]
            raise UserError(
                f"The scorer '{spec}' judges {MEDIA[scored_medium].plural}, but {folder} holds {MEDIA[medium].plural}. "
                f"Scorers of {MEDIA[medium].plural}: {', '.join(fitting)}."
            )
    if not contents:
        raise DataError(f"{path} names no samples, so there is nothing to score. Add one line per sample.")
    scorers = {spec: load_scorer(spec, device) for spec in specs}
    columns = {spec: scorer.score(prompts, contents).tolist() for spec, scorer in scorers.items()}
    add_scores(path, columns)
    return [_summary(spec, column, scorers[spec].unit, MEDIA[medium]) for spec, column in columns.items()]


def add_scores(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Adds scores to ``metadata.jsonl``: ``columns`` holds, for each scorer, one number per row."""
    rows = []
    for number, (place, row) in enumerate(metadata_rows(path.parent, "scores")):
        earlier = row.get("scores") or {}
        if not isinstance(earlier, dict):
            raise bad_row(place, row, "scores by scorer")
        rows.append({**row, "scores": {**earlier, **{spec: column[number] for spec, column in columns.items()}}})
    write_json_lines(path, rows)


def _samples(folder: Path) -> tuple[str, list[Text], list[Any]]:
    """Returns the medium of a folder's samples, their prompts, and their contents as scorers take them."""
    path = folder / "metadata.jsonl"
    if not path.is_file() or "file_name" in Table(path).columns:
        gallery = read_gallery(folder)
        return gallery.medium, [sample.prompt for sample in gallery.samples], gallery.contents()
    prompts: list[Text] = []
    texts: list[Text] = []
    for place, row in metadata_rows(folder, _COLUMNS):
        try:
            prompt, completion = _text(row["prompt"]), _text(row["completion"])
        except (KeyError, TypeError) as error:
            raise bad_row(place, row, _COLUMNS) from error
        prompts.append(prompt)
        texts.append(completion)
    return "text", prompts, texts


def _text(cell: Any) -> Text:
    if isinstance(cell, list):
        return Conversation.of(cell)
    if not isinstance(cell, str):
        raise TypeError(f"expected a text or its turns, got {type(cell).__name__}")
    return cell


def _summary(spec: str, column: list[float], unit: str, medium: Medium) -> str:
    count, mean = len(column), sum(column) / len(column)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in column) / max(count - 1, 1))
    return f"{spec}: {mean:.4f} +- {deviation / math.sqrt(count):.4f} ({unit}; {medium.count(count)})"

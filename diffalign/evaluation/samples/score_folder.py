"""Scores beside samples: judges a folder of images or of texts and writes what they say into its metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.data.readers.tables import Table
from diffalign.data.records.conversation import Conversation, Text
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.generate import read_gallery
from diffalign.evaluation.samples.medium import MEDIA
from diffalign.scorers import load_scorer, scorer_entry
from diffalign.sharing.atomic import write_atomically


def is_gallery(source: str | Path) -> bool:
    """Whether ``source`` is a folder of single samples (``metadata.jsonl`` with ``file_name``, or with ``completion``
    and no vote) and not of pairs."""
    path = Path(source).expanduser() / "metadata.jsonl"
    columns = set(Table(path).columns) if path.is_file() else set()
    votes = {"rejected_file_name", "rejected", "label"}
    return bool({"file_name", "completion"} & columns) and not votes & columns


def score_folder(folder: Path, specs: Sequence[str], device: str = "cpu") -> list[str]:
    """Scores every sample of a folder with ``metadata.jsonl`` against its prompt.

    Each row gains ``scores: {scorer: number}``; earlier scores of other scorers stay. The file is replaced at the end.

    Args:
        folder: Images or texts with ``metadata.jsonl`` (``file_name``, ``prompt``), or that file alone where its rows
            hold the texts (``completion``, ``prompt``).
        specs: Scorers, ``NAME`` or ``NAME:ARGUMENT``.
        device: Where they compute.

    Returns:
        One line per scorer: mean, standard error, unit.

    Raises:
        DataError: No metadata, a sample that is not there, or no sample at all.
        UserError: An unknown scorer, or one of another medium.
    """
    path = Path(folder) / "metadata.jsonl"
    medium, prompts, contents = _samples(Path(folder))
    for spec in specs:
        judged = scorer_entry(spec).medium
        if judged != medium:
            raise UserError(
                f"The scorer '{spec}' judges {MEDIA[judged].plural}, but {folder} holds {MEDIA[medium].plural}."
            )
    if not contents:
        raise DataError(f"{path} names no samples: there is nothing to judge.")
    scorers = {spec: load_scorer(spec, device) for spec in specs}
    columns = {spec: scorer.score(prompts, contents).tolist() for spec, scorer in scorers.items()}
    note_scores(path, columns)
    return [_summary(spec, column, scorers[spec].unit, MEDIA[medium].plural) for spec, column in columns.items()]


def note_scores(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    """Puts scores beside samples: ``columns`` holds one number per row of ``metadata.jsonl`` for each scorer."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, row in enumerate(rows):
        row["scores"] = {**row.get("scores", {}), **{spec: column[number] for spec, column in columns.items()}}
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


def _samples(folder: Path) -> tuple[str, list[Text], list[Any]]:
    """What a folder's samples are, their prompts, and what scorers take of them."""
    path = folder / "metadata.jsonl"
    if not path.is_file() or "file_name" in Table(path).columns:
        gallery = read_gallery(folder)
        return gallery.medium, [sample.prompt for sample in gallery.samples], gallery.contents()
    prompts: list[Text] = []
    texts: list[Text] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            prompts.append(_text(row["prompt"]))
            texts.append(_text(row["completion"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}, line {number}: expected an object with prompt and completion, got {line[:80]!r}. "
                "Mend the line."
            ) from error
    return "text", prompts, texts


def _text(cell: Any) -> Text:
    if isinstance(cell, list):
        return Conversation.of(cell)
    if not isinstance(cell, str):
        raise TypeError(f"expected a text or its turns, got {type(cell).__name__}")
    return cell


def _summary(spec: str, column: list[float], unit: str, what: str) -> str:
    count, mean = len(column), sum(column) / len(column)
    spread = math.sqrt(sum((value - mean) ** 2 for value in column) / max(count - 1, 1))
    return f"{spec}: {mean:.4f} +- {spread / math.sqrt(count):.4f} ({unit}; {count} {what})"

"""Scores beside pictures: judges a folder of pictures and writes what they say into its metadata."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

from diffalign.data.readers.tables import Table
from diffalign.evaluation.generate import read_gallery
from diffalign.scorers import load_scorer
from diffalign.sharing.atomic import write_atomically


def is_gallery(source: str | Path) -> bool:
    """Whether ``source`` is a folder of single pictures (``metadata.jsonl`` with ``file_name``) and not of pairs."""
    path = Path(source).expanduser() / "metadata.jsonl"
    columns = Table(path).columns if path.is_file() else ()
    return "file_name" in columns and not {"rejected_file_name", "rejected"} & set(columns)


def score_folder(folder: Path, specs: Sequence[str], device: str = "cpu") -> list[str]:
    """Scores every picture of a folder with ``metadata.jsonl`` against its prompt.

    Each row gains ``scores: {scorer: number}``; earlier scores of other scorers stay. The file is replaced at the end.

    Args:
        folder: Pictures with ``metadata.jsonl`` (``file_name``, ``prompt``).
        specs: Scorers, ``NAME`` or ``NAME:ARGUMENT``.
        device: Where they compute.

    Returns:
        One line per scorer: mean, standard error, unit.

    Raises:
        DataError: No metadata, or a picture that is not there.
        UserError: An unknown scorer.
    """
    scorers = {spec: load_scorer(spec, device) for spec in specs}
    gallery = read_gallery(folder)
    prompts, paths = [p.prompt for p in gallery.samples], [p.path for p in gallery.samples]
    columns = {spec: scorer.score(prompts, paths).tolist() for spec, scorer in scorers.items()}
    path = Path(folder) / "metadata.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    for number, row in enumerate(rows):
        row["scores"] = {**row.get("scores", {}), **{spec: column[number] for spec, column in columns.items()}}
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))
    return [_summary(spec, column, scorers[spec].unit) for spec, column in columns.items()]


def _summary(spec: str, column: list[float], unit: str) -> str:
    count, mean = len(column), sum(column) / len(column)
    spread = math.sqrt(sum((value - mean) ** 2 for value in column) / max(count - 1, 1))
    return f"{spec}: {mean:.4f} +- {spread / math.sqrt(count):.4f} ({unit}; {count} pictures)"

"""Scores single samples with several scorers in one pass, and writes a table with a row per sample and scorer."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffalign.data.records.score_table import SCORES
from diffalign.devices.processes import ALONE, Processes
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.gallery import bad_row, metadata_rows
from diffalign.evaluation.samples.medium import MEDIA, Medium
from diffalign.evaluation.scoring.bad_samples import bad_samples_message, sentences
from diffalign.evaluation.scoring.load_scorers import check_medium, load_scorers
from diffalign.evaluation.scoring.score_examples import Progress, score_examples
from diffalign.evaluation.scoring.score_log import ScoreLog
from diffalign.evaluation.scoring.sources import Samples, metadata_samples
from diffalign.evaluation.scoring.tidy_table import check_earlier, check_suffix, write_tidy
from diffalign.files.atomic import write_atomically
from diffalign.files.folder_lock import FolderLock
from diffalign.files.json_lines import json_line
from diffalign.scorers.scorer import Scorer, SupportsNotes

TABLE = "samples.jsonl"
EXPECTED = "file_name and prompt, or prompt and completion"


@dataclass(frozen=True)
class SampleScores:
    """The result of :func:`score_samples`.

    Args:
        path: The table.
        lines: One line per scorer: mean, standard error, unit; then what scorers say of the pass.
        bad: A sentence for each sample that a scorer could not score.
    """

    path: Path
    lines: tuple[str, ...]
    bad: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises DataError that names the samples without a score; the scores of the others are in the table."""
        if self.bad:
            raise DataError(bad_samples_message(self.bad, str(self.path)))


def score_samples(
    samples: Samples,
    specs: Sequence[str],
    path: Path | None = None,
    *,
    device: str = "cpu",
    batch: int = 16,
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> SampleScores:
    """Scores every sample against its prompt, once decoded for all scorers.

    The table is written at the end; until then ``TABLE.SCORER.part`` beside it holds the scores, from which a killed
    call resumes. These files stay where a sample could not be scored, and the next call scores only what is missing.
    ``metadata.jsonl`` of the samples gains ``scores: {scorer: number}`` in each row (null without a score); earlier
    scores of other scorers stay.

    Args:
        samples: The samples, as :func:`~diffalign.evaluation.scoring.sources.open_samples` returns them.
        specs: Scorers, ``NAME`` or ``NAME:ARGUMENT``.
        path: The table: a name that ends in .jsonl, .csv or .parquet; None for :func:`table_path`.
        device: Device of the scorers.
        batch: Samples decoded and scored at once.
        processes: The processes that share the work.
        progress: ``progress(what, done, total)``.

    Raises:
        DataError: A sample lacks a prompt, or no sample could be scored.
        UserError: An unknown scorer, one of another medium, or one that is never used alone.
        RunError: Another process writes this table now.
    """
    path = path or table_path(samples.source)
    check_suffix(path)
    check_earlier(path)
    check_medium(specs, samples.medium, samples.source)
    if batch < 1:
        raise UserError(f"batch is the number of samples scored at once, at least 1; got {batch}.")
    if samples.metadata is not None:
        _check_metadata(samples.metadata)
    if not len(samples):
        place = samples.metadata or samples.source
        raise DataError(f"{place} names no samples, so there is nothing to score. Add one line per sample.")
    with FolderLock(path.parent, path.name) as lock:
        processes.from_main(lock.acquire)
        scorers = load_scorers(specs, samples, device)
        logs = pass_over(samples, scorers, path, batch=batch, processes=processes, progress=progress)
        return processes.from_main(lambda: _finish(samples, logs, path))


def pass_over(
    samples: Samples,
    scorers: Mapping[str, Scorer],
    path: Path,
    *,
    batch: int = 16,
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> list[ScoreLog]:
    """Scores samples with loaded scorers and returns their scores; the first process has all, the others their share.

    Args:
        samples: The samples.
        scorers: By name, of the samples' medium.
        path: Scores are kept in ``PATH.SCORER.part`` until :meth:`ScoreLog.remove`.
        batch, processes, progress: As for :func:`score_samples`.
    """
    logs = [
        ScoreLog(scorer, spec, path.with_name(f"{path.name}.{name}"), ("score",), len(samples), processes.rank)
        for (spec, scorer), name in zip(scorers.items(), _slugs(list(scorers)), strict=True)
    ]
    for log in logs:
        log.read(samples)
    what = f"{MEDIA[samples.medium].plural} scored"
    score_examples(samples, logs, samples.medium, batch=batch, what=what, processes=processes, progress=progress)
    return logs


def score_folder(folder: Path, specs: Sequence[str], device: str = "cpu", **options: Any) -> list[str]:
    """Scores every sample of a folder with ``metadata.jsonl``, as :func:`score_samples`.

    Returns:
        One line per scorer: mean, standard error, unit.

    Raises:
        DataError: As :func:`score_samples`; also where a sample could not be scored, after the others are.
    """
    scores = score_samples(metadata_samples(Path(folder)), specs, device=device, **options)
    scores.check()
    return list(scores.lines)


def table_path(source: Path) -> Path:
    """Returns the default path of a source's table: ``scores/samples.jsonl`` in a folder, next to a file otherwise."""
    if source.is_dir():
        return source / SCORES / TABLE
    return source.with_name(f"{source.stem}.{SCORES}.{TABLE}")


def _slugs(specs: Sequence[str]) -> list[str]:
    """Returns scorers' names as parts of files' names; equal ones get a digest."""
    names = [re.sub(r"[^\w.-]+", "_", spec).strip("._")[:100] for spec in specs]
    digests = [hashlib.blake2b(spec.encode(), digest_size=4).hexdigest() for spec in specs]
    return [f"{name}-{end}" if names.count(name) > 1 else name for name, end in zip(names, digests, strict=True)]


def _finish(samples: Samples, logs: Sequence[ScoreLog], path: Path) -> SampleScores:
    bad = tuple(sentences(samples, logs))
    if not any(len(log.missing()) < len(samples) for log in logs):
        raise DataError(bad_samples_message(bad, "no table, as there are none"))
    write_tidy(path, samples, logs)
    if samples.metadata is not None:
        add_scores(samples.metadata, {log.spec: log.values[:, 0] for log in logs})
    if not bad:
        for log in logs:
            log.remove()
    notes = [line for log in logs if isinstance(log.scorer, SupportsNotes) for line in log.scorer.notes()]
    return SampleScores(path, (*(_summary(log, MEDIA[samples.medium]) for log in logs), *notes), bad)


def _check_metadata(path: Path) -> None:
    for place, row in metadata_rows(path.parent, EXPECTED):
        if not isinstance(row.get("scores") or {}, dict):
            raise bad_row(place, row, "scores by scorer")


def add_scores(path: Path, columns: Mapping[str, Sequence[float] | np.ndarray]) -> None:
    """Adds scores to ``metadata.jsonl``: ``columns`` holds, for each scorer, one number per row; NaN becomes null."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            for number, (place, row) in enumerate(metadata_rows(path.parent, EXPECTED)):
                earlier = row.get("scores") or {}
                if not isinstance(earlier, dict):
                    raise bad_row(place, row, "scores by scorer")
                new = {spec: _number(column[number]) for spec, column in columns.items()}
                file.write(json_line({**row, "scores": {**earlier, **new}}))

    write_atomically(path, write)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _summary(log: ScoreLog, medium: Medium) -> str:
    column = log.values[:, 0][~np.isnan(log.values[:, 0])]
    count = len(column)
    if not count:
        return f"{log.spec}: no score"
    mean, deviation = column.mean(), column.std(ddof=1) if count > 1 else 0.0
    return f"{log.spec}: {mean:.4f} +- {deviation / count**0.5:.4f} ({log.scorer.unit}; {medium.count(count)})"

"""Scores both candidates of every pair once, with several scorers in one pass, and stores the scores next to the data.

Scores are appended to ``FILE.part`` after each batch, so an interrupted call resumes where it stopped. When all pairs
are scored, the complete table of each scorer is written under its own name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffalign.data.records.pair import PairSet
from diffalign.data.records.score_table import (
    ROLES,
    ScoreTable,
    read_scores,
    scores_path,
    write_scores,
)
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.devices.processes import ALONE, Processes
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.medium import MEDIA, medium_of_candidate
from diffalign.evaluation.scoring.bad_samples import bad_samples_message, sentences
from diffalign.evaluation.scoring.example import Example
from diffalign.evaluation.scoring.load_scorers import load_scorers
from diffalign.evaluation.scoring.score_examples import Progress, score_examples
from diffalign.evaluation.scoring.score_log import ScoreLog, identity
from diffalign.files.folder_lock import FolderLock
from diffalign.scorers import Scorer, scorer_medium

BAD_IMAGES = "Or leave out rows with unreadable images or clips: --option bad_images=drop"


def score_pairs(
    pair_set: PairSet,
    spec: str,
    path: Path | None = None,
    *,
    split: str = "train",
    batch: int = 16,
    device: str = "cpu",
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> ScoreTable:
    """Scores both candidates of each pair with one scorer and writes its table, as :func:`score_pairs_in_one_pass`."""
    (table,) = score_pairs_in_one_pass(
        pair_set,
        [spec],
        {} if path is None else {spec: path},
        split=split,
        batch=batch,
        device=device,
        processes=processes,
        progress=progress,
    )
    return table


def score_pairs_in_one_pass(
    pair_set: PairSet,
    specs: Sequence[str],
    paths: Mapping[str, Path] | None = None,
    *,
    split: str = "train",
    batch: int = 16,
    device: str = "cpu",
    processes: Processes = ALONE,
    progress: Progress | None = None,
) -> list[ScoreTable]:
    """Scores both candidates of each pair and writes the table of each scorer.

    Args:
        pair_set: The pairs, as :func:`~diffalign.data.readers.read_pairs` returns them.
        specs: The scorers, ``NAME`` or ``NAME:ARGUMENT``, of one medium.
        paths: The file to write by scorer; the others get that of
            :func:`~diffalign.data.records.score_table.scores_path`.
        split: Split of the pairs, a part of the default path.
        batch: Pairs scored at once.
        device: Device of the scorers.
        processes: The processes that share the work.
        progress: ``progress(what, done, total)``.

    Returns:
        The tables in the order of the scorers. Pairs that a file (or its ``.part``) already holds are not scored again.

    Raises:
        DataError: Candidates that are missing or of another medium. A candidate that cannot be read, or a score that is
            not finite: it is raised after all others are scored, and the tables lack its pair.
        UserError: An unknown scorer, no path to write to, or an existing file of another scorer.
        RunError: Another process writes one of the tables now.
    """
    targets = {spec: _target(pair_set, spec, split, dict(paths or {})) for spec in specs}
    medium = _check_candidates(pair_set, specs)
    if batch < 1:
        raise UserError(f"batch is the number of pairs judged at once, at least 1; got {batch}.")
    for spec, path in targets.items():
        if path.exists() and read_scores(path).scorer != spec:
            raise UserError(f"{path} holds scores of another judge. Give another file with --output.")
    examples = _PairExamples(pair_set)
    with ExitStack() as locks:
        for path in targets.values():
            processes.from_main(locks.enter_context(FolderLock(path.parent, path.name)).acquire)
        scorers = load_scorers(specs, examples, device)
        logs = [
            ScoreLog(scorer, spec, targets[spec], ROLES, len(examples), processes.rank)
            for spec, scorer in scorers.items()
        ]
        for log in logs:
            log.read(examples, _read_complete(targets[log.spec], log.spec, log.scorer))
        what = "pairs judged by " + (specs[0] if len(specs) == 1 else f"{len(specs)} scorers")
        score_examples(examples, logs, medium, batch=batch, what=what, processes=processes, progress=progress)
        return processes.from_main(lambda: _finish(pair_set, logs, targets))


def summary_lines(table: ScoreTable) -> str:
    """Returns one line: the range of the scores, their agreement with the votes, and their file."""
    gaps = [chosen - rejected for chosen, rejected in table.rows.values()]
    share = sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)
    return (
        f"{table.scorer}: {len(gaps):,} pairs, scores from {table.low:.4f} to {table.high:.4f} ({table.unit}), agrees "
        f"with {share:.1%} of the votes; written to {table.path}"
    )


@dataclass(frozen=True)
class _PairExamples:
    """Pairs as examples with two sides; nothing is kept."""

    pair_set: PairSet

    def __len__(self) -> int:
        return len(self.pair_set.pairs)

    def __iter__(self) -> Iterator[Example]:
        for pair in self.pair_set.pairs:
            assert pair.rejected is not None
            sides = (pair.prompt, pair.chosen), (pair.prompt, pair.rejected)
            yield Example(pair.id, pair.source or pair.id, sides)


def _target(pair_set: PairSet, spec: str, split: str, paths: Mapping[str, Path]) -> Path:
    scorer_medium(spec)
    path = paths.get(spec) or scores_path(pair_set.source, spec, split)
    if path is None:
        raise UserError(f"'{pair_set.source}' is not a local file or folder. Give a file for the scores: --output FILE")
    return path


def _check_candidates(pair_set: PairSet, specs: Sequence[str]) -> str:
    """Returns the scorers' medium. Raises DataError for single examples, and for candidates of another medium."""
    media = {spec: scorer_medium(spec) for spec in specs}
    for number, pair in enumerate(pair_set.pairs):
        if pair.rejected is None:
            raise DataError(
                f"'{pair_set.source}' holds single examples, and scores are stored for pairs. A folder with "
                "metadata.jsonl (prompt and file_name, or prompt and completion) is scored sample by sample."
            )
        # Only reading a table's cells says their medium, and those of one column are alike.
        candidates = [m for m in (pair.chosen, pair.rejected) if not isinstance(m, TableCell) or number == 0]
        for medium in {medium_of_candidate(candidate).name for candidate in candidates}:
            if other := next((spec for spec in specs if media[spec] != medium), None):
                raise DataError(
                    f"{pair.source or pair.id}: the candidates are {MEDIA[medium].plural}, and the scorer '{other}' "
                    f"judges {MEDIA[media[other]].plural}. Give another scorer."
                )
    return media[specs[0]]


def _read_complete(path: Path, spec: str, scorer: Scorer) -> Mapping[str, Sequence[float]]:
    """Reads the rows of an existing table; the data set may have grown since it was written."""
    if not path.exists():
        return {}
    table, now = read_scores(path), identity(scorer)
    for name, recorded in (("weights", table.weights), ("preprocessing", table.preprocessing)):
        # tables of earlier versions do not state the preprocessing
        if recorded != now[name] and (recorded or name == "weights"):
            raise UserError(
                f"{path} holds scores of other {name} of '{spec}'. Delete it to score again, or give another file with "
                "--output."
            )
    return table.rows


def _finish(pair_set: PairSet, logs: Sequence[ScoreLog], targets: Mapping[str, Path]) -> list[ScoreTable]:
    tables = []
    for log in logs:
        scored = {
            pair.id: tuple(log.values[number].tolist())
            for number, pair in enumerate(pair_set.pairs)
            if not log.is_missing(number)
        }
        if scored:
            about: dict[str, Any] = identity(log.scorer)
            tables.append(write_scores(targets[log.spec], log.spec, scored, **about))
    bad = list(sentences(_PairExamples(pair_set), logs))
    if bad:
        written = ", ".join(table.path for table in tables) or "no file, as there are none"
        raise DataError(bad_samples_message(bad, written, "pair", BAD_IMAGES))
    for log in logs:
        log.remove()
    return tables

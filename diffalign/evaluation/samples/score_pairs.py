"""Scores both candidates of every pair once, and stores the scores next to the data.

Scores are appended to ``FILE.part`` after each batch, so an interrupted call resumes where it stopped. When all pairs
are scored, the complete table is written under its own name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import Media, Pair, PairSet
from diffalign.data.records.progress_file import check_is_progress
from diffalign.data.records.score_table import (
    Rows,
    ScoreTable,
    parse_score_row,
    read_scores,
    score_line,
    scores_path,
    write_scores,
)
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.medium import MEDIA, medium_of_candidate
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import intact_values, json_line
from diffalign.scorers import Scorer, load_scorer, scorer_medium
from diffalign.scorers.scorer import SupportsPromptCheck

Progress = Callable[[str, int, int], None]
CACHE_SIZE = 4096
"""Number of scores kept from batch to batch, because samples of one prompt often occur in several pairs."""


def score_pairs(
    pair_set: PairSet,
    spec: str,
    path: Path | None = None,
    *,
    split: str = "train",
    batch: int = 16,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ScoreTable:
    """Scores both candidates of each pair and writes the table.

    Args:
        pair_set: The pairs, as :func:`~diffalign.data.readers.read_pairs` returns them.
        spec: The scorer, ``NAME`` or ``NAME:ARGUMENT``.
        path: The file to write; None for the default of :func:`~diffalign.data.records.score_table.scores_path`.
        split: Split of the pairs, a part of the default path.
        batch: Pairs scored at once.
        device: Device of the scorer.
        progress: ``progress(what, done, total)``.

    Returns:
        The table. Pairs that the file (or its ``.part``) already holds are not scored again.

    Raises:
        DataError: Candidates that are missing or of another medium, a sample that cannot be read, a score that is not
            finite.
        UserError: An unknown scorer, no path to write to, or an existing file of another scorer.
    """
    medium = scorer_medium(spec)
    path = path or scores_path(pair_set.source, spec, split)
    if path is None:
        raise UserError(f"'{pair_set.source}' is not a local file or folder. Give a file for the scores: --output FILE")
    _check_candidates(pair_set, spec, medium)
    if batch < 1:
        raise UserError(f"batch is the number of pairs judged at once, at least 1; got {batch}.")
    if path.exists() and read_scores(path).scorer != spec:
        raise UserError(f"{path} holds scores of another judge. Give another file with --output.")
    scorer = load_scorer(spec, device)
    if isinstance(scorer, SupportsPromptCheck):
        scorer.check_prompts(list(dict.fromkeys(pair.prompt for pair in pair_set.pairs)))
    head: Mapping[str, str] = {"scorer": spec, "unit": scorer.unit, "weights": scorer.weights}
    part = path.with_name(path.name + ".part")
    done = {**_read_complete(path, head), **_read_partial(part, head)}
    rows = {pair.id: done[pair.id] for pair in pair_set.pairs if pair.id in done}
    missing = [index for index, pair in enumerate(pair_set.pairs) if pair.id not in rows]
    if missing:
        text = json_line(head) + "".join(score_line(name, row) for name, row in rows.items())
        write_atomically(part, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    cache: dict[tuple[Text, Media], float] = {}
    for start in range(0, len(missing), batch):
        pairs = [pair_set.pairs[index] for index in missing[start : start + batch]]
        new_rows = _score_batch(scorer, pairs, cache, len(rows))
        with part.open("a", encoding="utf-8") as file:
            file.writelines(score_line(name, row) for name, row in new_rows.items())
        rows.update(new_rows)
        if progress is not None:
            progress(f"pairs judged by {spec}", len(rows), len(pair_set))
    ordered = {pair.id: rows[pair.id] for pair in pair_set.pairs}
    table = write_scores(path, spec, ordered, unit=scorer.unit, weights=scorer.weights)
    part.unlink(missing_ok=True)
    return table


def summary_lines(table: ScoreTable) -> str:
    """Returns one line: the range of the scores, their agreement with the votes, and their file."""
    gaps = [chosen - rejected for chosen, rejected in table.rows.values()]
    share = sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)
    return (
        f"{table.scorer}: {len(gaps):,} pairs, scores from {table.low:.4f} to {table.high:.4f} ({table.unit}), agrees "
        f"with {share:.1%} of the votes; written to {table.path}"
    )


def _check_candidates(pair_set: PairSet, spec: str, medium: str) -> None:
    """Raises DataError for single examples, and for candidates of another medium than the scorer's."""
    for number, pair in enumerate(pair_set.pairs):
        if pair.rejected is None:
            raise DataError(
                f"'{pair_set.source}' holds single examples, and scores are stored for pairs. A folder with "
                "metadata.jsonl (prompt and file_name, or prompt and completion) is scored sample by sample."
            )
        # Cells of a table are read to be told apart, and those of one column are alike.
        candidates = [m for m in (pair.chosen, pair.rejected) if not isinstance(m, TableCell) or number == 0]
        actual = {medium_of_candidate(candidate).name for candidate in candidates} - {medium}
        if actual:
            raise DataError(
                f"{pair.source or pair.id}: the candidates are {MEDIA[min(actual)].plural}, and the scorer '{spec}' "
                f"judges {MEDIA[medium].plural}. Give another scorer."
            )


def _score_batch(
    scorer: Scorer, pairs: Sequence[Pair], cache: dict[tuple[Text, Media], float], done: int
) -> dict[str, tuple[float, ...]]:
    """Scores a batch, except for samples in ``cache``, and adds the new scores to ``cache``."""
    if len(cache) > CACHE_SIZE:
        cache.clear()
    sides: dict[str, Any] = {p.id: ((p.prompt, p.chosen), (p.prompt, p.rejected)) for p in pairs}
    samples = list(dict.fromkeys(side for both in sides.values() for side in both if side not in cache))
    try:
        values = scorer.score([prompt for prompt, _ in samples], [media for _, media in samples]).tolist()
    except DataError as error:
        raise DataError(
            f"{error} {done:,} pairs are judged already and kept. Correct or remove this pair and run the same command "
            "again, or leave out rows with unreadable images or clips: --option bad_images=drop"
        ) from error
    cache.update(zip(samples, values, strict=True))
    rows: dict[str, tuple[float, ...]] = {
        name: (cache[chosen], cache[rejected]) for name, (chosen, rejected) in sides.items()
    }
    for pair in pairs:
        if not all(map(math.isfinite, rows[pair.id])):
            raise DataError(
                f"{pair.source or pair.id}: {scorer.name} gave the scores {rows[pair.id]}, and only finite scores can "
                f"be used in training. Check its candidates, or use another scorer. {done:,} pairs are judged already "
                "and kept."
            )
    return rows


def _read_complete(path: Path, head: Mapping[str, str]) -> Rows:
    """Reads the rows of an existing table; the data set may have grown since it was written."""
    if not path.exists():
        return {}
    table = read_scores(path)
    if table.weights != head["weights"]:
        raise UserError(
            f"{path} holds scores of other weights of '{head['scorer']}'. Delete it to score again, or give another "
            "file with --output."
        )
    return table.rows


def _read_partial(part: Path, head: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    """Reads the rows of an interrupted call, without a truncated last line; none if the scorer was another one."""
    rows: dict[str, tuple[float, ...]] = {}
    if part.is_file():
        check_is_progress(part, head)
    values = intact_values(part)
    if next(values, None) != head:
        return {}
    for value in values:
        with suppress(ValueError):
            name, row = parse_score_row(value)
            rows[name] = row
    return rows

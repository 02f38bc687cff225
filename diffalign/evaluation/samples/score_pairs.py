"""Scores of pairs: a judge looks at both candidates of every pair, once, and the numbers are kept beside the data.

What is judged goes into ``FILE.part`` at once, so a killed call goes on where it stopped; when all pairs are judged the
whole table takes its place under its own name.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.pair import Media, Pair, PairSet
from diffalign.data.records.score_table import (
    Rows,
    ScoreTable,
    parse_score_line,
    read_scores,
    score_line,
    scores_path,
    write_scores,
)
from diffalign.errors import DataError, UserError
from diffalign.evaluation.samples.medium import MEDIA
from diffalign.scorers import Scorer, load_scorer, scorer_entry
from diffalign.scorers.scorer import SupportsPromptCheck
from diffalign.sharing.atomic import write_atomically

Progress = Callable[[str, int, int], None]
KEPT = 4096
"""Scores of samples to remember from batch to batch: those of one prompt often meet in several pairs."""


def score_pairs(
    found: PairSet,
    spec: str,
    path: Path | None = None,
    *,
    split: str = "train",
    batch: int = 16,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ScoreTable:
    """Judges both candidates of each pair and writes the table.

    Args:
        found: The pairs, as :func:`~diffalign.data.readers.read_pairs` gives them.
        spec: The scorer, ``NAME`` or ``NAME:ARGUMENT``.
        path: The file to write; None for the place that :func:`~diffalign.data.records.score_table.scores_path` gives.
        split: Which split the pairs are, for that place.
        batch: Pairs judged at once.
        device: Where the scorer computes.
        progress: ``progress(what, done, total)``.

    Returns:
        The table. Pairs that the file (or its ``.part``) holds already are not judged again.

    Raises:
        DataError: Candidates that are missing or not what the scorer judges, a sample that cannot be read, a score that
            is no number.
        UserError: An unknown scorer; no place to write to; a file there that is of another judge.
    """
    medium = scorer_entry(spec).medium
    path = path or scores_path(found.source, spec, split)
    if path is None:
        raise UserError(f"'{found.source}' is no local file or folder. Say where the scores shall go: --output FILE")
    _check(found, spec, medium)
    if batch < 1:
        raise UserError(f"batch is the number of pairs judged at once, at least 1; got {batch}.")
    if path.exists() and read_scores(path).scorer != spec:
        raise UserError(f"{path} holds scores of another judge. Give another file with --output.")
    scorer = load_scorer(spec, device)
    if isinstance(scorer, SupportsPromptCheck):
        scorer.check_prompts(list(dict.fromkeys(pair.prompt for pair in found.pairs)))
    head: Mapping[str, str] = {"scorer": spec, "unit": scorer.unit, "weights": scorer.weights}
    part = path.with_name(path.name + ".part")
    done = {**_complete(path, head), **_begun(part, head)}
    rows = {pair.id: done[pair.id] for pair in found.pairs if pair.id in done}
    rest = [place for place, pair in enumerate(found.pairs) if pair.id not in rows]
    if rest:
        text = json.dumps(head) + "\n" + "".join(score_line(name, row) for name, row in rows.items())
        write_atomically(part, lambda beside: beside.write_text(text, encoding="utf-8"))
    known: dict[tuple[Text, Media], float] = {}
    for start in range(0, len(rest), batch):
        pairs = [found.pairs[place] for place in rest[start : start + batch]]
        fresh = _judged(scorer, pairs, known, len(rows))
        with part.open("a", encoding="utf-8") as file:
            file.writelines(score_line(name, row) for name, row in fresh.items())
        rows.update(fresh)
        if progress is not None:
            progress(f"pairs judged by {spec}", len(rows), len(found))
    ordered = {pair.id: rows[pair.id] for pair in found.pairs}
    table = write_scores(path, spec, ordered, unit=scorer.unit, weights=scorer.weights)
    part.unlink(missing_ok=True)
    return table


def summary_lines(table: ScoreTable) -> str:
    """One line: range, agreement with the votes, and where the scores are."""
    gaps = [chosen - rejected for chosen, rejected in table.rows.values()]
    share = sum((gap > 0) + 0.5 * (gap == 0) for gap in gaps) / len(gaps)
    return (
        f"{table.scorer}: {len(gaps):,} pairs, scores from {table.low:.4f} to {table.high:.4f} ({table.unit}), agrees "
        f"with {share:.1%} of the votes; written to {table.path}"
    )


def _check(found: PairSet, spec: str, medium: str) -> None:
    """Raises DataError for examples that are single, or candidates that are not what the scorer judges."""
    for pair in found.pairs:
        if pair.rejected is None:
            raise DataError(
                f"'{found.source}' holds single examples, and scores are stored for pairs. A folder with "
                "metadata.jsonl (prompt and file_name, or prompt and completion) is scored sample by sample."
            )
        texts = [isinstance(candidate, (str, Conversation)) for candidate in (pair.chosen, pair.rejected)]
        if any(given != (medium == "text") for given in texts):
            judged, held = MEDIA[medium].plural, MEDIA["text" if any(texts) else "image"].plural
            raise DataError(
                f"{pair.source or pair.id}: the candidates are {held}, and the scorer '{spec}' judges {judged}."
            )


def _judged(
    scorer: Scorer, pairs: Sequence[Pair], known: dict[tuple[Text, Media], float], done: int
) -> dict[str, tuple[float, ...]]:
    """Scores of a batch. A sample that ``known`` holds is not judged again; ``known`` gains this batch's."""
    if len(known) > KEPT:
        known.clear()
    sides: dict[str, Any] = {p.id: ((p.prompt, p.chosen), (p.prompt, p.rejected)) for p in pairs}
    asked = list(dict.fromkeys(side for both in sides.values() for side in both if side not in known))
    try:
        values = scorer.score([prompt for prompt, _ in asked], [media for _, media in asked]).tolist()
    except DataError as error:
        raise DataError(
            f"{error} {done:,} pairs are judged already and kept: mend or remove this one and type the same again."
        ) from error
    known.update(zip(asked, values, strict=True))
    fresh: dict[str, tuple[float, ...]] = {name: (known[one], known[other]) for name, (one, other) in sides.items()}
    for pair in pairs:
        if not all(map(math.isfinite, fresh[pair.id])):
            raise DataError(
                f"{pair.source or pair.id}: {scorer.name} gave the scores {fresh[pair.id]}, which are no numbers to "
                f"train with. Look at its candidates, or take another scorer. {done:,} pairs are judged already and "
                "kept."
            )
    return fresh


def _complete(path: Path, head: Mapping[str, str]) -> Rows:
    """Rows of a table that is there already: the data may have grown."""
    if not path.exists():
        return {}
    table = read_scores(path)
    if table.weights != head["weights"]:
        raise UserError(
            f"{path} holds scores of other weights of '{head['scorer']}'. Delete it to judge anew, or give another "
            "file with --output."
        )
    return table.rows


def _begun(part: Path, head: Mapping[str, str]) -> dict[str, tuple[float, ...]]:
    """Rows of a call that was killed, its torn last line left out; none when another judge began."""
    rows: dict[str, tuple[float, ...]] = {}
    lines = part.read_text(encoding="utf-8", errors="replace").split("\n") if part.is_file() else []
    try:
        if not lines or json.loads(lines[0]) != head:
            return {}
        for line in filter(None, lines[1:]):
            name, row = parse_score_line(line)
            rows[name] = row
    except ValueError:
        pass
    return rows

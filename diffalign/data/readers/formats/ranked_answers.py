"""Reads several scored answers per prompt, as a ranked list.

Columns: ``prompt``, ``completions`` (or ``responses``, ``generations``, ``image_path``), ``scores`` (or ``rewards``). A
completion has the forms of a candidate of the ``trl`` format: a text, plain or as a list of messages, a file name,
bytes or the Hub's ``{"path", "bytes"}``; a list of strings is read as the lines of one text, the steps of a solution.
Scores are numbers, in the completions' order. A column named ``rank``, ``ranks``, ``ranking`` or ``rankings`` holds
ranks instead, the best of which is the lowest, as in ImageReward and HPDv2; a rank r becomes the score -r. The best
answer becomes the chosen candidate, the worst the rejected one, and those between further answers by rank. Equal scores
keep the order of the row. Optional columns are those of ``trl``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from diffalign.data.readers.formats.trl import TEXT, content_of, names_files, read_candidate
from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    as_number,
    column_for,
    content_parts,
    digest,
    group_of,
    read_rows,
    require_columns,
    row_id,
    scores_of,
    validate_pair,
)
from diffalign.data.readers.rows.prompt_parts import add_prompt_parts
from diffalign.data.readers.rows.text_cells import align_forms, check_texts, read_text
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.conversation import Text
from diffalign.data.records.label_agreement import is_rank
from diffalign.data.records.pair import BAD_LABEL, BAD_ROW, EMPTY_CANDIDATE, TIE, Answer, Dropped, Media, Pair
from diffalign.errors import DataError, near_miss

REQUIRED = ("prompt", "completions", "scores")
ALIASES = {
    "completions": ("responses", "generations", "image_path"),
    "scores": ("rewards", "ranks", "rank", "rankings", "ranking"),
}
Best = Literal["auto", "highest", "lowest"]


def read_ranked(
    tables: Sequence[Table],
    *,
    candidates: Literal["auto", "text", "files"] = "auto",
    root: str | Path | None = None,
    best: Best = "auto",
) -> Iterator[Pair | Dropped]:
    """Yields for each row a pair with all candidates, or a dropped row.

    Args:
        tables: Tables in any file format whose cells can be lists.
        candidates: As for the ``trl`` format.
        root: As for the ``trl`` format.
        best: Whether the best completion has the highest score or the lowest. ``"auto"``: the lowest where the column
            is named after ranks.

    Raises:
        DataError: A column is missing, or ``best`` has another value.
    """
    if best not in get_args(Best):
        raise DataError(f"best is {', '.join(get_args(Best))}; got '{best}'.{near_miss(str(best), get_args(Best))}")
    ids = Ids()
    for table in tables:
        names = {name: column_for(name, ALIASES, table.columns) for name in REQUIRED}
        require_columns(table.columns, names.values(), where=str(table.path), format="ranked")
        files = candidates == "files" or candidates == "auto" and names_files(table, [names["completions"]])
        folder = (Path(root).expanduser() if root else table.folder) if files else None
        ranks = best == "lowest" or best == "auto" and is_rank(table.name_in_file(names["scores"]))
        yield from read_rows(table, _read_list, table, names, folder, ids, ranks)


def _read_list(
    row: TableRow, table: Table, names: Mapping[str, str], folder: Path | None, ids: Ids, ranks: bool
) -> Pair:
    values = row.values
    prompt = read_text(values.get("prompt"), "prompt")
    cells, ranked_scores = _sort_by_score(values, names, ranks)
    labels = [f"completion {rank}" for rank in range(1, len(cells) + 1)]
    cells = [_join_steps(cell) for cell in cells]
    candidates = [read_candidate(cell, label, table, folder) for cell, label in zip(cells, labels, strict=True)]
    prompt, candidates, content_id = _check_candidates(prompt, candidates, labels, folder or table.folder, values)
    roles = ["chosen", *map(str, range(2, len(candidates))), "rejected"]
    scores = scores_of(values, (*REQUIRED, *names.values()))
    for role, score in zip(roles, ranked_scores, strict=True):
        scores.setdefault(role, {})["reward" if names["scores"] == "rewards" else "score"] = score
    pair = Pair(
        id="",
        prompt=prompt,
        chosen=candidates[0],
        rejected=candidates[-1],
        scores=scores,
        source=row.source,
        further={role: Answer(candidate) for role, candidate in zip(roles[1:-1], candidates[1:-1], strict=True)},
        group=group_of(values),
    )
    return replace(validate_pair(pair), id=ids.unique(row_id(values, content_id)))


def _join_steps(cell: Any) -> Any:
    """Joins a list of steps into one text, one line per step; returns any other cell unchanged."""
    if isinstance(cell, list) and cell and all(isinstance(step, str) for step in cell):
        return "\n".join(step.rstrip("\n") for step in cell)
    return cell


def _sort_by_score(values: Mapping[str, Any], names: Mapping[str, str], ranks: bool) -> tuple[list[Any], list[float]]:
    """Returns completions and scores, the best first. Drops the row where they do not match."""
    cells, score_cells = values.get(names["completions"]), values.get(names["scores"])
    if not isinstance(cells, list) or not isinstance(score_cells, list):
        advice = "; a CSV file cannot hold lists, so save the table as .jsonl or .parquet"
        is_text = isinstance(cells, str) or isinstance(score_cells, str)
        raise Drop(BAD_ROW, f"{names['completions']} and {names['scores']} must be lists{advice * is_text}")
    if cells and isinstance(cells[0], dict) and "role" in cells[0]:
        raise Drop(BAD_ROW, f"{names['completions']} is one list of messages; a list of completions was expected")
    scores = [as_number(score) for score in score_cells]
    if len(scores) != len(cells):
        raise Drop(BAD_LABEL, f"{len(cells)} completions have {len(scores)} scores")
    scored = [
        (0.0 - score if ranks else score, cell) for score, cell in zip(scores, cells, strict=True) if score is not None
    ]
    if len(scored) != len(cells):
        raise Drop(BAD_LABEL, f"each completion needs a number as its score; got {score_cells!r}")
    if len(scored) < 2:
        raise Drop(EMPTY_CANDIDATE, f"a ranking needs two completions; got {len(scored)}")
    scored.sort(key=lambda entry: -entry[0])
    if scored[0][0] == scored[-1][0]:
        raise Drop(TIE, "all completions have the same score")
    return [cell for _, cell in scored], [score for score, _ in scored]


def _check_candidates(
    prompt: Text, candidates: list[Media], labels: Sequence[str], folder: Path, values: Mapping[str, Any]
) -> tuple[Text, list[Media], str]:
    """Returns prompt and candidates in one form, and an id computed from them. Best and worst come first in the check,
    which requires them to differ.
    """
    order = [0, len(candidates) - 1, *range(1, len(candidates) - 1)]
    reordered = [candidates[rank] for rank in order]
    texts = [candidate for candidate in reordered if isinstance(candidate, TEXT)]
    if len(texts) == len(reordered):
        prompt, texts = add_prompt_parts(*align_forms(prompt, texts), values)
        content_id = check_texts(prompt, texts, [labels[rank] for rank in order])
        reordered = list(texts)
    elif texts:
        raise Drop(BAD_ROW, "some completions are texts and others files")
    else:
        content_id = digest(*content_parts(prompt), *(content_of(candidate, folder) for candidate in reordered))
    by_rank = dict(zip(order, reordered, strict=True))
    return prompt, [by_rank[rank] for rank in range(len(candidates))], content_id

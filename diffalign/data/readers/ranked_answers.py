"""Several answers per prompt with scores: ``prompt``, ``completions`` (or ``responses``), ``scores`` (or ``rewards``).

A completion is what a candidate of the ``trl`` format is: a text, plain or as a list of messages, a file name, bytes or
the ecosystem's ``{"path", "bytes"}``; a list of strings is the lines of one text, the steps of a solution. Scores are
numbers, in the completions' order; the best becomes the chosen candidate, the worst the rejected one, those between
further answers by rank. Equal scores keep the order of the row.
Optional columns are those of ``trl``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from diffalign.data.readers.parse_row import (
    Drop,
    Ids,
    as_number,
    content_parts,
    digest,
    group_of,
    require_columns,
    row_id,
    scores_of,
    validate_pair,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.readers.text_cells import align_forms, check_texts, read_text
from diffalign.data.readers.trl import TEXT, content_of, names_files, read_candidate
from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import BAD_LABEL, BAD_ROW, EMPTY_CANDIDATE, TIE, Answer, Dropped, Media, Pair

REQUIRED = ("prompt", "completions", "scores")
ALIASES = {"completions": ("responses",), "scores": ("rewards",)}


def read_ranked(
    tables: Sequence[Table], *, candidates: Literal["auto", "text", "files"] = "auto", root: str | Path | None = None
) -> Iterator[Pair | Dropped]:
    """Yields a pair with all candidates, or a dropped row, per row.

    Args:
        tables: Tables in any file format whose cells can be lists.
        candidates: As for the ``trl`` format.
        root: As for the ``trl`` format.

    Raises:
        DataError: A missing column.
    """
    ids = Ids()
    for table in tables:
        names = {name: _found(name, table.columns) for name in REQUIRED}
        require_columns(table.columns, names.values(), where=str(table.path), format="ranked")
        files = candidates == "files" or candidates == "auto" and names_files(table, [names["completions"]])
        folder = (Path(root).expanduser() if root else table.folder) if files else None
        for row in table.rows():
            try:
                yield _pair(row, table, names, folder, ids)
            except Drop as drop:
                yield drop.at(row.source)


def _found(name: str, columns: Sequence[str]) -> str:
    return next((served for served in (name, *ALIASES.get(name, ())) if served in columns), name)


def _pair(row: TableRow, table: Table, names: Mapping[str, str], folder: Path | None, ids: Ids) -> Pair:
    if row.problem:
        raise Drop(BAD_ROW, row.problem)
    values = row.values
    prompt = read_text(values.get("prompt"), "prompt")
    cells, scores = _ranked(values, names)
    columns = [f"completion {place + 1}" for place in range(len(cells))]
    cells = [_joined(cell) for cell in cells]
    found = [read_candidate(cell, column, table, folder) for cell, column in zip(cells, columns, strict=True)]
    prompt, found, made = _checked(prompt, found, columns, folder or table.folder)
    roles = ["chosen", *map(str, range(2, len(found))), "rejected"]
    told = scores_of(values, (*REQUIRED, *names.values()))
    for role, score in zip(roles, scores, strict=True):
        told.setdefault(role, {})[names["scores"].removesuffix("s")] = score
    pair = Pair(
        id="",
        prompt=prompt,
        chosen=found[0],
        rejected=found[-1],
        scores=told,
        source=row.source,
        further={role: Answer(one) for role, one in zip(roles[1:-1], found[1:-1], strict=True)},
        group=group_of(values),
    )
    return replace(validate_pair(pair), id=ids.unique(row_id(values, made)))


def _joined(cell: Any) -> Any:
    """Steps as one text, a line each; anything else as it is."""
    if isinstance(cell, list) and cell and all(isinstance(step, str) for step in cell):
        return "\n".join(step.rstrip("\n") for step in cell)
    return cell


def _ranked(values: Mapping[str, Any], names: Mapping[str, str]) -> tuple[list[Any], list[float]]:
    """Completions and scores, the best first. Drops the row where they do not belong together."""
    cells, given = values.get(names["completions"]), values.get(names["scores"])
    if not isinstance(cells, list) or not isinstance(given, list):
        raise Drop(BAD_ROW, f"{names['completions']} and {names['scores']} must be lists")
    if cells and isinstance(cells[0], dict) and "role" in cells[0]:
        raise Drop(BAD_ROW, f"{names['completions']} is one list of messages; a list of completions was expected")
    scores = [as_number(score) for score in given]
    if len(scores) != len(cells):
        raise Drop(BAD_LABEL, f"{len(cells)} completions have {len(scores)} scores")
    known = [(score, cell) for score, cell in zip(scores, cells, strict=True) if score is not None]
    if len(known) != len(cells):
        raise Drop(BAD_LABEL, f"each completion needs a number as its score; got {given!r}")
    if len(known) < 2:
        raise Drop(EMPTY_CANDIDATE, f"a ranking needs two completions; got {len(known)}")
    known.sort(key=lambda one: -one[0])
    if known[0][0] == known[-1][0]:
        raise Drop(TIE, "all completions have the same score")
    return [cell for _, cell in known], [score for score, _ in known]


def _checked(prompt: Text, found: list[Media], columns: Sequence[str], folder: Path) -> tuple[Text, list[Media], str]:
    """Prompt and candidates in one form, and an id made of them. Best and worst go first: they must differ."""
    order = [0, len(found) - 1, *range(1, len(found) - 1)]
    first = [found[place] for place in order]
    texts = [one for one in first if isinstance(one, TEXT)]
    if len(texts) == len(first):
        prompt, texts = align_forms(prompt, texts)
        made = check_texts(prompt, texts, [columns[place] for place in order])
        first = list(texts)
    elif texts:
        raise Drop(BAD_ROW, "some completions are texts and others files")
    else:
        made = digest(*content_parts(prompt), *(content_of(one, folder) for one in first))
    by_rank = dict(zip(order, first, strict=True))
    return prompt, [by_rank[place] for place in range(len(found))], made

"""TRL's unpaired preference columns ``prompt``, ``completion``, ``label``: answers that were judged one by one.

A completion is a text, plain or as a list of messages; ``label`` says whether it is good. Optional columns: ``id`` and
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from diffalign.data.readers.parse_row import Drop, Ids, as_number, require_columns, row_id, scores_of
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.readers.text_cells import align_forms, check_texts, read_text
from diffalign.data.records.pair import BAD_LABEL, BAD_ROW, NO_LABEL, Dropped, Pair

REQUIRED = ("prompt", "completion", "label")
_WORDS = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}


def read_unpaired(tables: Sequence[Table]) -> Iterator[Pair | Dropped]:
    """Yields a pair without a rejected candidate, or a dropped row, per row. ``desirable`` is the row's label."""
    ids = Ids()
    for table in tables:
        require_columns(table.columns, REQUIRED, where=str(table.path), format="unpaired")
        for row in table.rows():
            try:
                yield _example(row, ids)
            except Drop as drop:
                yield drop.at(row.source)


def _example(row: TableRow, ids: Ids) -> Pair:
    if row.problem:
        raise Drop(BAD_ROW, row.problem)
    values = row.values
    desirable = _desirable(values.get("label"))
    prompt = read_text(values.get("prompt"), "prompt")
    prompt, answers = align_forms(prompt, [read_text(values.get("completion"), "completion")])
    name = check_texts(prompt, answers, REQUIRED[1:2])
    scores = scores_of(values, REQUIRED)
    return Pair(
        ids.unique(row_id(values, name)),
        prompt,
        answers[0],
        None,
        scores=scores,
        source=row.source,
        desirable=desirable,
    )


def _desirable(label: Any) -> bool:
    if label is None or label == "":
        raise Drop(NO_LABEL)
    known = _WORDS.get(label.strip().lower()) if isinstance(label, str) else None
    value = float(known) if known is not None else as_number(label)
    if value not in (0.0, 1.0):
        raise Drop(BAD_LABEL, f"label says whether the completion is good: true or false; got {label!r}")
    return bool(value)

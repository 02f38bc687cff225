"""Reads TRL's unpaired preference columns ``prompt``, ``completion``, ``label``: answers that are labelled singly.

A completion is a text, plain or as a list of messages; ``label`` is true for a good one. Optional columns: ``id`` and
numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from diffalign.data.readers.rows.parse_row import Drop, Ids, as_number, read_rows, require_columns, row_id, scores_of
from diffalign.data.readers.rows.prompt_parts import add_prompt_parts
from diffalign.data.readers.rows.text_cells import align_forms, check_texts, read_text
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import BAD_LABEL, NO_LABEL, Dropped, Pair

REQUIRED = ("prompt", "completion", "label")
_LABELS = {"true": True, "yes": True, "1": True, "1.0": True, "false": False, "no": False, "0": False, "0.0": False}


def read_unpaired(tables: Sequence[Table]) -> Iterator[Pair | Dropped]:
    """Yields for each row a pair without a rejected candidate, or a dropped row. ``desirable`` is the row's label."""
    ids = Ids()
    for table in tables:
        require_columns(table.columns, REQUIRED, where=str(table.path), format="unpaired")
        yield from read_rows(table, _read_example, ids)


def _read_example(row: TableRow, ids: Ids) -> Pair:
    values = row.values
    desirable = _read_label(values.get("label"))
    prompt = read_text(values.get("prompt"), "prompt")
    answers = [read_text(values.get("completion"), "completion")]
    prompt, answers = add_prompt_parts(*align_forms(prompt, answers), values)
    content_id = check_texts(prompt, answers, REQUIRED[1:2])
    scores = scores_of(values, REQUIRED)
    return Pair(
        ids.unique(row_id(values, content_id)),
        prompt,
        answers[0],
        None,
        scores=scores,
        source=row.source,
        desirable=desirable,
    )


def _read_label(label: Any) -> bool:
    if label is None or label == "":
        raise Drop(NO_LABEL)
    word = _LABELS.get(label.strip().lower()) if isinstance(label, str) else None
    value = float(word) if word is not None else as_number(label)
    if value not in (0.0, 1.0):
        raise Drop(BAD_LABEL, f"label must be true for a good completion and false for a bad one; got {label!r}")
    return bool(value)

"""Reads TRL's explicit preference columns ``prompt``, ``chosen``, ``rejected``, for texts and for images or videos.

A candidate is a text, plain or as a list of messages; the path of a file, relative to the table; bytes; or the Hub's
``{"path", "bytes"}``. Answers in turns may repeat the prompt, as UltraFeedback's do. Optional columns are those of a
pair folder: ``id``, ``label_prob``, ``tie``, ``chosen_score`` (or ``score_chosen``) and other numbers; a ``group``
(``domain``, ``user_id``); a ``rejected_prompt`` where the rejected candidate has another prompt; and further answers
that some losses read: ``gold`` (TRL's ``reference``), ``calibration``, ``rationale``, and ``augmented_chosen`` and
``augmented_rejected`` with their ``augmented_prompt``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from diffalign.data.readers.file_names import are_file_names
from diffalign.data.readers.rows.parse_row import (
    ROLES,
    Drop,
    Ids,
    column_for,
    content_parts,
    digest,
    existing_file,
    group_of,
    label_probability,
    read_rows,
    require_columns,
    row_id,
    scores_of,
    stored_bytes,
    validate_pair,
    with_rate,
)
from diffalign.data.readers.rows.prompt_parts import add_prompt_parts
from diffalign.data.readers.rows.text_cells import align_forms, check_answer, check_texts, read_text
from diffalign.data.readers.tables import FIRST_ROWS, Table, TableRow
from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.pair import EMPTY_CANDIDATE, IDENTICAL, Answer, Dropped, Media, Pair
from diffalign.data.storage.frame_files import FrameFiles
from diffalign.data.storage.lazy_table_cell import TableCell

REQUIRED = ("prompt", "chosen", "rejected")
ALIASES = {"prompt": ("conversations",)}
FURTHER = {
    "gold": ("gold", "reference"),
    "calibration": ("calibration",),
    "rationale": ("rationale",),
    "augmented_chosen": ("augmented_chosen",),
    "augmented_rejected": ("augmented_rejected",),
}
"""Columns of further answers, by role."""
TEXT = (str, Conversation)


def read_trl(
    tables: Sequence[Table], *, candidates: Literal["auto", "text", "files"] = "auto", root: str | Path | None = None
) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each row.

    Args:
        tables: Tables in any file format.
        candidates: The meaning of strings: texts or file names. With ``"auto"`` they are files when every candidate of
            the first rows has the suffix of an image or video.
        root: Folder that file names are relative to and must stay within; each table's own folder by default.

    Raises:
        DataError: A column is missing.
    """
    ids = Ids()
    for table in tables:
        prompt = column_for("prompt", ALIASES, table.columns)
        require_columns(table.columns, (prompt, *ROLES), where=str(table.path), format="trl")
        files = candidates == "files" or candidates == "auto" and names_files(table)
        folder = (Path(root).expanduser() if root else table.folder) if files else None
        yield from read_rows(table, _read_pair, prompt, table, folder, ids)


def _read_pair(row: TableRow, prompt_column: str, table: Table, folder: Path | None, ids: Ids) -> Pair:
    values = row.values
    prompt = read_text(values.get(prompt_column), prompt_column)
    chosen, rejected = (
        with_rate(read_candidate(values.get(role), role, table, folder), values, role) for role in ROLES
    )
    name = row_id(values, "")
    rejected_prompt = _read_rejected_prompt(values, prompt)
    if isinstance(chosen, TEXT) and isinstance(rejected, TEXT):
        if rejected_prompt is None:
            prompt, (chosen, rejected) = add_prompt_parts(*align_forms(prompt, (chosen, rejected)), values)
            content_id = check_texts(prompt, (chosen, rejected), ROLES)
        else:
            prompt, (chosen,) = add_prompt_parts(*align_forms(prompt, (chosen,)), values)
            rejected_prompt, (rejected,) = add_prompt_parts(*align_forms(rejected_prompt, (rejected,)), values)
            sides = ((prompt, chosen, "chosen"), (rejected_prompt, rejected, "rejected"))
            content_id = digest(*(check_texts(text, (answer,), (role,)) for text, answer, role in sides))
        name = name or content_id
    elif not name:
        contents = [content_of(candidate, folder or table.folder) for candidate in (chosen, rejected)]
        if contents[0] == contents[1]:
            raise Drop(IDENTICAL)
        name = digest(*content_parts(prompt), *contents)
    further = _read_further(values, prompt, table, folder)
    used = (
        *REQUIRED,
        "rejected_prompt",
        "augmented_prompt",
        *(column for columns in FURTHER.values() for column in columns),
    )
    pair = Pair(
        id="",
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        probability=label_probability(values),
        scores=scores_of(values, used),
        source=row.source,
        rejected_prompt=rejected_prompt,
        further=further,
        group=group_of(values),
    )
    return replace(validate_pair(pair), id=ids.unique(name))


def _read_rejected_prompt(values: Mapping[str, Any], prompt: Text) -> Text | None:
    """Returns the rejected candidate's prompt where it differs from ``prompt``, otherwise None."""
    if values.get("rejected_prompt") in (None, ""):
        return None
    rejected_prompt = read_text(values["rejected_prompt"], "rejected_prompt")
    return None if rejected_prompt == prompt else rejected_prompt


def _read_further(values: Mapping[str, Any], prompt: Text, table: Table, folder: Path | None) -> dict[str, Answer]:
    """Returns the further answers by role, in the form of the prompt."""
    answers = {}
    for role, columns in FURTHER.items():
        value = next((values[name] for name in columns if values.get(name) not in (None, "")), None)
        if value is None:
            continue
        candidate = read_candidate(value, role, table, folder)
        augmented = role.startswith("augmented")
        own_prompt = read_text(values.get("augmented_prompt"), "augmented_prompt") if augmented else None
        if isinstance(candidate, TEXT):
            own, (candidate,) = align_forms(own_prompt or prompt, (candidate,))
            if own_prompt:
                own_prompt, (candidate,) = add_prompt_parts(own, (candidate,), values)
            check_answer(candidate, role)
        answers[role] = Answer(candidate, own_prompt or None)
    return answers


def read_candidate(value: Any, role: str, table: Table, folder: Path | None) -> Media:
    """Parses a cell into a candidate: text, bytes, or with ``folder`` a file in it. Drops the row of an empty cell."""
    if isinstance(value, (list, str)):
        value = read_text(value, role)
    if isinstance(value, Conversation):
        return value
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
        folder = folder or table.folder
    if value is None or not isinstance(value, (TableCell, bytes)) and not str(value).strip():
        raise Drop(EMPTY_CANDIDATE, role)
    if isinstance(value, (TableCell, bytes)):
        return value
    return existing_file(folder, str(value)) if folder else str(value)


def content_of(candidate: Media, folder: Path) -> str | bytes:
    """Returns the content from which an id is computed: the name of a file, a text, or bytes."""
    if isinstance(candidate, TableCell):
        return stored_bytes(candidate)
    if isinstance(candidate, FrameFiles):
        candidate = candidate.folder or candidate.files[0]
    if isinstance(candidate, Path):
        return os.path.relpath(candidate, folder)
    return candidate if isinstance(candidate, bytes) else str(candidate)


def names_files(table: Table, columns: Sequence[str] = ROLES) -> bool:
    """Returns whether every candidate of a table's first rows is a name or an address of a file.

    A cell of ``columns`` holds one candidate or a list of them.
    """
    cells = [value for row in islice(table.rows(), FIRST_ROWS) for value in map(row.values.get, columns) if value]
    texts = [text for cell in cells for text in (cell if isinstance(cell, list) else [cell])]
    return all(isinstance(text, str) for text in texts) and are_file_names(texts, table.folder)

"""Reads a folder of files whose ``metadata.jsonl`` (or csv, parquet) names a chosen and a rejected file per prompt.

Columns: ``chosen_file_name``, ``rejected_file_name`` (relative to the table), ``prompt``; optional ``id``,
``label_prob``, ``tie``, and numbers such as ``chosen_score`` and ``rejected_score``. This is the Hub's ImageFolder
layout, whose images the Hub shows; it holds videos as well, and folders with one picture per frame, whose rate a column
``fps`` (or ``chosen_fps`` and ``rejected_fps``) states; 8 without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    digest,
    existing_file,
    label_probability,
    only_text,
    read_rows,
    require_columns,
    scores_of,
    validate_pair,
    with_rate,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import MISSING_FILE, Dropped, Pair

REQUIRED = ("chosen_file_name", "rejected_file_name", "prompt")


def read_pair_folder(tables: Sequence[Table], *, root: str | Path | None = None) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each row. Files must exist; none is opened.

    Args:
        tables: The metadata tables.
        root: Folder that the file names are relative to and must stay within; each table's own folder by default.
    """
    ids = Ids()
    for table in tables:
        require_columns(table.columns, REQUIRED, where=str(table.path), format="pair_folder")
        folder = Path(root).expanduser() if root else table.folder
        yield from read_rows(table, _read_pair, folder, ids)


def _read_pair(row: TableRow, folder: Path, ids: Ids) -> Pair:
    values = row.values
    names = [str(values.get(role) or "") for role in REQUIRED[:2]]
    for role, name in zip(REQUIRED, names, strict=False):
        if not name:
            raise Drop(MISSING_FILE, f"{role} is empty")
    prompt = only_text(values.get("prompt"), "prompt")
    pair = Pair(
        id="",
        prompt=prompt,
        chosen=with_rate(existing_file(folder, names[0]), values, "chosen"),
        rejected=with_rate(existing_file(folder, names[1]), values, "rejected"),
        probability=label_probability(values),
        scores=scores_of(values, REQUIRED),
        source=row.source,
    )
    validate_pair(pair)
    name = str(values["id"]) if values.get("id") not in (None, "") else digest(prompt, *names)
    return replace(pair, id=ids.unique(name))

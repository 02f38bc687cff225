"""Reads captioned images or videos: winners without a rejected candidate, for methods that need none.

The format is the Hub's ImageFolder with captions (``file_name`` relative to the table), or a table with the encoded
bytes in ``image``. The prompt is the first column out of ``prompt``, ``caption`` and ``text``. Optional columns: ``id``
and numbers, which are kept with the winner.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    digest,
    existing_file,
    only_text,
    read_rows,
    require_columns,
    scores_of,
    stored_bytes,
    validate_pair,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import MISSING_FILE, Dropped, Pair
from diffalign.data.storage.lazy_table_cell import TableCell

REQUIRED = ("file_name", "prompt")
ALIASES = {"file_name": ("image",), "prompt": ("caption", "text")}
UNLESS = ("label", "rank", "ranking", "chosen", "rejected")


def read_captioned(tables: Sequence[Table], *, root: str | Path | None = None) -> Iterator[Pair | Dropped]:
    """Yields for each row a pair without a rejected candidate, or a dropped row. Files must exist; none is opened.

    Args:
        tables: The tables.
        root: Folder that file names are relative to and must stay within; each table's own folder by default.
    """
    ids = Ids()
    for table in tables:
        image, prompt = (
            next((name for name in (first, *ALIASES[first]) if name in table.columns), first) for first in REQUIRED
        )
        require_columns(table.columns, (image, prompt), where=str(table.path), format="captioned")
        folder = Path(root).expanduser() if root else table.folder
        yield from read_rows(table, _read_winner, image, prompt, folder, ids)


def _read_winner(row: TableRow, image: str, prompt: str, folder: Path, ids: Ids) -> Pair:
    chosen, name = _read_candidate(row.values.get(image), image, folder)
    prompt_text = only_text(row.values.get(prompt), prompt)
    pair = Pair(
        id="",
        prompt=prompt_text,
        chosen=chosen,
        rejected=None,
        scores=scores_of(row.values, (image, prompt)),
        source=row.source,
    )
    validate_pair(pair)
    if row.values.get("id") not in (None, ""):
        return replace(pair, id=ids.unique(str(row.values["id"])))
    return replace(pair, id=ids.unique(digest(prompt_text, _id_content(chosen, name))))


def _read_candidate(value: Any, column: str, folder: Path) -> tuple[TableCell | bytes | Path, str | None]:
    """Returns the candidate, and the file's name where it is a file."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, (TableCell, bytes)):
        return value, None
    if not value or not str(value).strip():
        raise Drop(MISSING_FILE, f"{column} is empty")
    return existing_file(folder, str(value)), str(value)


def _id_content(candidate: TableCell | bytes | Path, name: str | None) -> str | bytes:
    """Returns the content from which an id is computed: the file's name, or the bytes of a candidate without one."""
    if name is not None:
        return name
    assert not isinstance(candidate, Path), "a file has a name"
    return stored_bytes(candidate) if isinstance(candidate, TableCell) else candidate

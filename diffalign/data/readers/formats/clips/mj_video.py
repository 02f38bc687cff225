"""Reads MJ-Bench-Video: two videos, a preference overall and by five categories.

Columns: ``caption``, ``video_0_path``, ``video_1_path``, ``overall_preference``, ``category_preference`` (Alignment,
Safety, Fineness, Coherence & Consistency, Bias & Fairness), ``discard``. In the preferences "Video 1" is ``video_0``
and "Video 2" is ``video_1``; "Video 1 better" also occurs with a capital B. Most rows are "Same"; some prompts are
sexual or violent. The criteria's labels and scores count faults, so they are not read as scores.

Source: MJ-Bench/MJ-BENCH-VIDEO (arXiv 2502.01719).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from diffalign.data.readers.formats.clips.clip_cells import clip_of, folder_of
from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    as_bool,
    digest,
    only_text,
    read_rows,
    require_columns,
    row_id,
    validate_pair,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import BAD_LABEL, FILTERED, NO_LABEL, TIE, Dropped, Pair
from diffalign.errors import near_miss

REQUIRED = ("caption", "video_0_path", "video_1_path", "overall_preference")
OVERALL = "overall"
_FIRST_WINS = {"video 1 better": 1.0, "video 2 better": 0.0, "same": 0.5}


def read_mj_video(
    tables: Sequence[Table], *, label: str = OVERALL, root: str | Path | None = None
) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each row.

    Args:
        tables: Tables in any file format.
        label: ``overall``, or the category whose preference is read, such as ``"Coherence & Consistency"``.
        root: Folder of the videos; each table's own folder by default.

    Raises:
        DataError: A column is missing.
    """
    ids = Ids()
    for table in tables:
        needed = REQUIRED if label == OVERALL else (*REQUIRED, "category_preference")
        require_columns(table.columns, needed, where=str(table.path), format="mj_video")
        yield from read_rows(table, _read_pair, folder_of(table, root), label, ids)


def _read_pair(row: TableRow, folder: Path, label: str, ids: Ids) -> Pair:
    values = row.values
    if as_bool(values.get("discard")):
        raise Drop(FILTERED, "discard is set")
    first_wins = _first_wins(row, label)
    order = (0, 1) if first_wins else (1, 0)
    prompt = only_text(values.get("caption"), "caption")
    names = [f"video_{number}_path" for number in order]
    chosen, rejected = (clip_of(values.get(name), name, folder) for name in names)
    scores = {"pair": {"first_won": float(first_wins)}}
    pair = Pair(id="", prompt=prompt, chosen=chosen, rejected=rejected, scores=scores, source=row.source)
    content = digest(prompt, *(str(values.get(name)) for name in names))
    return replace(validate_pair(pair), id=ids.unique(row_id(values, content)))


def _first_wins(row: TableRow, label: str) -> bool:
    """Returns whether video 0, which the labels call Video 1, won. Drops ties and rows without a decision."""
    cell = row.values.get("overall_preference")
    if label != OVERALL:
        categories = row.values.get("category_preference")
        categories = categories if isinstance(categories, dict) else {}
        if label not in categories:
            raise Drop(NO_LABEL, f"category_preference has no '{label}'.{near_miss(label, categories)}")
        cell = categories[label]
    word = " ".join(str(cell or "").lower().split())
    if word in ("", "hard to judge"):
        raise Drop(NO_LABEL, word)
    if word not in _FIRST_WINS:
        raise Drop(BAD_LABEL, f"{label} must be Video 1 better, Video 2 better, Same or Hard to judge, got {cell!r}")
    if _FIRST_WINS[word] == 0.5:
        raise Drop(TIE)
    return _FIRST_WINS[word] == 1.0

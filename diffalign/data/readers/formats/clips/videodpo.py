"""Reads VideoDPO's pairs: ``pair.json`` beside ``metadata.json``, which lists the clips that its numbers point into.

    metadata.json   [{"basic": {"clip_path", "clip_duration"}, "misc": {"frame_caption": [...]}}, ...]
    pair.json       [{"video1": 4, "video2": 1, "frame_caption": ["a fox runs"], "score": 0.18}, ...]

``video1`` won. The numbers count the clips that are left **after** those of less than a second were removed, as the
published loader removes them before it reads the pairs. Each folder has pairs of its own clips. ``score`` is how common
the two scores of a pair are: `diffalign data rarity --probability score` computes VideoDPO's weights from it.

Source: CIntellifusion/VideoDPO, data/video_data.py (arXiv 2412.14167).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.data.readers.formats.clips.clip_cells import beside, folder_of, moved_clip
from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    as_number,
    digest,
    only_text,
    read_rows,
    row_id,
    validate_pair,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import BAD_ROW, Dropped, Pair
from diffalign.errors import DataError

REQUIRED = ("basic", "misc")
ALIASES = {"basic": ("video1",), "misc": ("video2",)}
CLIPS, PAIRS = "metadata.json", "pair.json"
SHORTEST = 1.0
"""Seconds below which the published loader removes a clip."""


def read_videodpo(tables: Sequence[Table], *, root: str | Path | None = None) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each row of ``pair.json``.

    Args:
        tables: The folders' ``metadata.json`` or ``pair.json``.
        root: Folder of the clips; each table's own folder by default. Paths of another machine are found in it by
            their last parts.

    Raises:
        DataError: One of the two tables is missing.
    """
    ids = Ids()
    for table in tables:
        has_pairs = "video1" in table.columns
        pairs, clips = (
            (table, beside(table, CLIPS, "videodpo")) if has_pairs else (beside(table, PAIRS, "videodpo"), table)
        )
        listed = list(_clips(clips))
        yield from read_rows(pairs, _read_pair, listed, folder_of(table, root), ids)


def _clips(table: Table) -> Iterator[Mapping[str, Any]]:
    """Yields the clips that the numbers of the pairs count."""
    for row in table.rows():
        basic = row.values.get("basic")
        seconds = as_number(basic.get("clip_duration")) if isinstance(basic, dict) else None
        if seconds is None or not isinstance(basic, dict):
            problem = row.problem or "it has no basic.clip_duration"
            raise DataError(f"{row.source} cannot be read ({problem}): without it every pair's numbers would shift.")
        if seconds >= SHORTEST:
            yield basic


def _read_pair(row: TableRow, clips: Sequence[Mapping[str, Any]], folder: Path, ids: Ids) -> Pair:
    values = row.values
    paths = [_path(values.get(name), name, clips) for name in ("video1", "video2")]
    chosen, rejected = (moved_clip(path, "clip_path", folder) for path in paths)
    prompt = only_text(values.get("frame_caption"), "frame_caption")
    score = as_number(values.get("score"))
    scores = {} if score is None else {"pair": {"score": score}}
    pair = Pair(id="", prompt=prompt, chosen=chosen, rejected=rejected, scores=scores, source=row.source)
    return replace(validate_pair(pair), id=ids.unique(row_id(values, digest(prompt, *map(str, paths)))))


def _path(number: Any, column: str, clips: Sequence[Mapping[str, Any]]) -> Any:
    """Returns the path of the clip with a number."""
    if type(number) is not int or not 0 <= number < len(clips):
        raise Drop(BAD_ROW, f"{column} must be the number of one of {len(clips)} clips, from 0; got {number!r}")
    return clips[number].get("clip_path")

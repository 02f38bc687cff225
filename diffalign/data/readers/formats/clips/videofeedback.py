"""Reads VideoFeedback: clips as frames with five marks each, from which pairs of one prompt are made.

Columns: ``id``, ``images`` (names of frames, under ``images/<id>/``), ``text prompt``, and five whole numbers from 1 to
4: ``visual quality``, ``temporal consistency``, ``dynamic degree``, ``text-to-video alignment``, ``factual
consistency``. The frames' rate is not published; about 8 per second.

A pair is made of two clips of one prompt where the sums of the marks differ by ``gap`` or more and no mark of the
chosen clip is lower than that of the rejected one.

Source: TIGER-Lab/VideoFeedback (arXiv 2406.15252); the frames' folders as in VideoScore,
training/prepare_regression.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from diffalign.data.readers.formats.clips.clip_cells import folder_of, frames_named
from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    as_number,
    only_text,
    require_columns,
    row_id,
    validate_pair,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import BAD_LABEL, BAD_ROW, NO_LABEL, TIE, Dropped, Pair
from diffalign.data.storage.frame_files import ASSUMED_FPS, FrameFiles
from diffalign.errors import DataError

MARKS = (
    "visual quality",
    "temporal consistency",
    "dynamic degree",
    "text-to-video alignment",
    "factual consistency",
)
PROMPT = "text prompt"
REQUIRED = ("images", PROMPT, *MARKS)


@dataclass(frozen=True)
class _Marked:
    """A clip with its marks."""

    name: str
    source: str
    clip: FrameFiles
    marks: Mapping[str, float]


def read_videofeedback(
    tables: Sequence[Table], *, root: str | Path | None = None, gap: float = 2, fps: float = ASSUMED_FPS
) -> Iterator[Pair | Dropped]:
    """Yields the pairs of each prompt, and a dropped row for each clip of which no pair is made.

    Args:
        tables: Tables in any file format.
        root: Folder of the frames; each table's own folder by default.
        gap: Smallest difference of the sums of marks.
        fps: Frames per second.

    Raises:
        DataError: A column is missing; ``gap`` or ``fps`` is not above 0.
    """
    for name, value in (("gap", gap), ("fps", fps)):
        if not isinstance(value, (int, float)) or not 0 < value < float("inf"):
            raise DataError(f"{name} is a number above 0; got {value!r}.")
    prompts: dict[str, list[_Marked]] = {}
    for table in tables:
        require_columns(table.columns, REQUIRED, where=str(table.path), format="videofeedback")
        for row in table.rows():
            try:
                prompt, marked = _read_clip(row, folder_of(table, root), fps)
                prompts.setdefault(prompt, []).append(marked)
            except Drop as drop:
                yield drop.at(row.source)
    ids = Ids()
    for prompt, clips in prompts.items():
        yield from _compare(prompt, clips, gap, ids)


def _read_clip(row: TableRow, folder: Path, fps: float) -> tuple[str, _Marked]:
    if row.problem:
        raise Drop(BAD_ROW, row.problem)
    marks = {}
    for name in MARKS:
        value = as_number(row.values.get(name))
        if value is None or not 1 <= value <= 4:
            raise Drop(BAD_LABEL, f"{name} must be a mark from 1 to 4, got {row.values.get(name)!r}")
        marks[name] = value
    prompt = only_text(row.values.get(PROMPT), PROMPT)
    clip = frames_named(row.values.get("images"), folder, fps)
    name = row_id(row.values, clip.files[0].stem.rpartition("_")[0] or clip.files[0].stem)
    return prompt, _Marked(name, row.source, clip, marks)


def _compare(prompt: str, clips: Sequence[_Marked], gap: float, ids: Ids) -> Iterator[Pair | Dropped]:
    used = set()
    for first, second in combinations(clips, 2):
        better, worse = sorted((first, second), key=lambda clip: -sum(clip.marks.values()))
        if sum(better.marks.values()) - sum(worse.marks.values()) < gap:
            continue
        if any(better.marks[name] < worse.marks[name] for name in MARKS):
            continue
        pair = Pair(
            id="",
            prompt=prompt,
            chosen=better.clip,
            rejected=worse.clip,
            scores={"chosen": dict(better.marks), "rejected": dict(worse.marks)},
            source=f"{better.source} and {worse.source}",
        )
        try:
            yield replace(validate_pair(pair), id=ids.unique(f"{better.name}-{worse.name}"))
        except Drop as drop:
            yield drop.at(pair.source)
        used |= {better.source, worse.source}
    for clip in clips:
        if clip.source not in used:
            several = len(clips) > 1
            detail = f"no other clip of its prompt differs by {gap:g} with no mark reversed"
            yield Dropped(
                clip.source, TIE if several else NO_LABEL, detail if several else "the only clip of its prompt"
            )

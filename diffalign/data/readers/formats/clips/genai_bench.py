"""Reads GenAI-Bench's votes on videos, as videos and in the form of frames that VideoScore's benchmark uses.

    prompt, left_video, right_video, vote_type                   one row a vote
    id ("0000_left", "0000_right"), images, preference, prompt   two rows a vote, each with the frames of one side

``vote_type`` is ``leftvote``, ``rightvote``, ``tievote`` or ``bothbad_vote``. A vote that both are bad is no tie of
good clips: it is left out even where ties are kept. In the form of frames the side with the larger preference won.

Source: TIGER-Lab/GenAI-Bench (arXiv 2406.04485); the form of frames as in VideoScore,
benchmark/get_genaibench_pairwise_acc.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from diffalign.data.readers.formats.clips.clip_cells import clip_of, folder_of, frames_named
from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    as_number,
    column_for,
    digest,
    only_text,
    read_rows,
    require_columns,
    row_id,
    stored_bytes,
    validate_pair,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import BAD_LABEL, BAD_ROW, FILTERED, NO_LABEL, TIE, Dropped, Media, Pair
from diffalign.data.storage.frame_files import ASSUMED_FPS
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError, near_miss

REQUIRED = ("left_video", "right_video", "vote_type")
FRAMES_REQUIRED = ("id", "images", "preference")
PROMPTS = {"prompt": ("text prompt", "caption", "text")}
LEFT = {"leftvote": 1.0, "rightvote": 0.0, "tievote": 0.5}
BOTH_BAD = ("bothbad_vote", "bothbad")
Ties = Literal["drop", "soft"]


def read_genai_bench(
    tables: Sequence[Table], *, ties: Ties = "drop", root: str | Path | None = None
) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each vote on two videos.

    Args:
        tables: Tables in any file format.
        ties: ``"drop"`` leaves ties out; ``"soft"`` keeps them with probability 0.5.
        root: Folder of the videos; each table's own folder by default.

    Raises:
        DataError: A column is missing, or ``ties`` is another word.
    """
    _check_ties(ties)
    ids = Ids()
    for table in tables:
        prompt = column_for("prompt", PROMPTS, table.columns)
        require_columns(table.columns, (prompt, *REQUIRED), where=str(table.path), format="genai_bench")
        yield from read_rows(table, _read_vote, prompt, folder_of(table, root), ties, ids)


def read_genai_bench_frames(
    tables: Sequence[Table], *, ties: Ties = "drop", root: str | Path | None = None, fps: float = ASSUMED_FPS
) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each two rows of one number.

    Args:
        tables: Tables in any file format.
        ties: As above.
        root: Folder of the frames; each table's own folder by default.
        fps: Frames per second.

    Raises:
        DataError: A column is missing, or ``ties`` is another word.
    """
    _check_ties(ties)
    ids, waiting = Ids(), dict[str, tuple[str, TableRow, Path]]()
    for table in tables:
        prompt = column_for("prompt", PROMPTS, table.columns)
        require_columns(table.columns, (prompt, *FRAMES_REQUIRED), where=str(table.path), format="genai_bench_frames")
        for row in table.rows():
            number, _, side = str(row.values.get("id") or "").rpartition("_")
            if row.problem or side not in ("left", "right") or not number:
                detail = row.problem or f"id must end in _left or _right, got {row.values.get('id')!r}"
                yield Dropped(row.source, BAD_ROW, detail)
                continue
            here = (side, row, folder_of(table, root))
            other = waiting.pop(number, None)
            if other is None or other[0] == side:
                waiting[number] = here
                continue
            left, right = (other, here) if side == "right" else (here, other)
            try:
                yield _read_frames(number, left, right, prompt, ties, fps, ids)
            except Drop as drop:
                yield drop.at(row.source)
    for number, (side, row, _) in waiting.items():
        yield Dropped(row.source, NO_LABEL, f"the other side of {number}_{side} is missing")


def _check_ties(ties: str) -> None:
    if ties not in get_args(Ties):
        raise DataError(f"ties is {' or '.join(get_args(Ties))}; got '{ties}'.{near_miss(str(ties), get_args(Ties))}")


def _read_vote(row: TableRow, prompt_column: str, folder: Path, ties: Ties, ids: Ids) -> Pair:
    values = row.values
    vote = str(values.get("vote_type") or "").strip().lower()
    if vote in BOTH_BAD:
        raise Drop(FILTERED, "both are bad, which is no tie of good clips")
    if vote not in LEFT:
        raise Drop(
            BAD_LABEL if vote else NO_LABEL, f"vote_type must be {', '.join(LEFT)} or bothbad_vote, got {vote!r}"
        )
    sides = [clip_of(values.get(name), name, folder) for name in REQUIRED[:2]]
    names = [_content(values.get(name), side) for name, side in zip(REQUIRED[:2], sides, strict=True)]
    prompt = only_text(values.get(prompt_column), prompt_column)
    order = [0, 1] if LEFT[vote] >= 0.5 else [1, 0]
    name = row_id(values, digest(prompt, *(names[index] for index in order)))
    return _pair(prompt, sides, LEFT[vote], ties, row.source, ids, name)


def _content(cell: Any, side: Media) -> str | bytes:
    if isinstance(side, TableCell):
        return stored_bytes(side)
    return side if isinstance(side, bytes) else str(cell.get("path") if isinstance(cell, dict) else cell)


def _read_frames(
    number: str,
    left: tuple[str, TableRow, Path],
    right: tuple[str, TableRow, Path],
    prompt_column: str,
    ties: Ties,
    fps: float,
    ids: Ids,
) -> Pair:
    wins = [as_number(row.values.get("preference")) for _, row, _ in (left, right)]
    if wins[0] is None or wins[1] is None:
        raise Drop(BAD_LABEL, "preference must be a number for both sides")
    first_wins = 0.5 if wins[0] == wins[1] else float(wins[0] > wins[1])
    sides = [frames_named(row.values.get("images"), folder, fps) for _, row, folder in (left, right)]
    prompt = only_text(left[1].values.get(prompt_column), prompt_column)
    return _pair(prompt, sides, first_wins, ties, f"{left[1].source} and {right[1].source}", ids, number)


def _pair(prompt: str, sides: Sequence[Media], first_wins: float, ties: Ties, source: str, ids: Ids, name: str) -> Pair:
    if first_wins == 0.5 and ties == "drop":
        raise Drop(TIE)
    chosen, rejected = sides if first_wins >= 0.5 else sides[::-1]
    pair = Pair(
        id="",
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        probability=max(first_wins, 1.0 - first_wins),
        scores={"pair": {"first_won": float(first_wins >= 0.5)}},
        source=source,
    )
    return replace(validate_pair(pair), id=ids.unique(name))

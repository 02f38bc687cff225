"""Turns a pair whose segments are labelled into one pair per labelled segment (DenseDPO).

A row's ``segments`` holds a label for each of S equal parts of its frames: 1 where the chosen clip is better there, -1
where the rejected one is, 0 for a tie. With u_s the margin of segment s, of errors over its frames alone, the loss is

    loss_b = (1 / n_b) sum_s L(y_s u_s),      n_b the number of labels y_s that are not 0

Each labelled segment becomes a pair of the same two clips: its ``frame_weights`` are 1 on the segment and 0 elsewhere,
chosen and rejected are swapped where y_s = -1, and its ``weight`` is 1 / n_b. The network sees whole clips. Each of
these pairs draws its own level and noise and costs as much as the whole pair.

Source: Wu et al. 2025, DenseDPO (arXiv 2506.03517), segment-level preferences; ties are skipped there as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.readers.sources import Columns, open_tables
from diffalign.data.records.pair import BAD_LABEL, NO_LABEL, TIE, Dropped, Pair
from diffalign.data.transforms.flip import flip
from diffalign.data.transforms.result import TransformResult
from diffalign.data.transforms.weight_by_prompt_classifier import WEIGHT
from diffalign.errors import DataError, UserError

SEGMENTS = "segments"
"""The column."""


def segment_frames(segment: int, segments: int, frames: int) -> range:
    """Returns the frames of one of ``segments`` equal parts: from ``floor(s F / S)`` up to ``floor((s + 1) F / S)``."""
    return range(segment * frames // segments, (segment + 1) * frames // segments)


def split_pair(pair: Pair, labels: Sequence[int], frames: int) -> list[Pair]:
    """Returns one pair for each labelled segment, in their order; ids are ``ID-s0``, ``ID-s1``, ...

    Args:
        pair: The pair, without weights of frames.
        labels: Of each segment: 1, -1 or 0.
        frames: Frames that the model sees.

    Facts: with one label, 1, on one segment it is the pair itself, with equal weights of frames. Flipping the pair and
        the sign of all labels gives the same pairs.
    """
    numbers, labelled = pair.scores.get("pair", {}), [s for s, label in enumerate(labels) if label]
    parts = []
    for s in labelled:
        own = segment_frames(s, len(labels), frames)
        weights = tuple(1.0 if frame in own else 0.0 for frame in range(frames))
        scores = {**pair.scores, "pair": {**numbers, WEIGHT: numbers.get(WEIGHT, 1.0) / len(labelled)}}
        part = replace(pair, id=f"{pair.id}-s{s}", scores=scores, frame_weights=weights)
        parts.append(part if labels[s] > 0 else flip(part))
    return parts


def split_segments(rows: Sequence[PairRow], labels_by_source: Mapping[str, Any], *, frames: int) -> TransformResult:
    """Splits every row by the labels of its segments.

    Args:
        rows: The rows.
        labels_by_source: The cells of the column, by the rows' source; see :func:`read_segment_cells`.
        frames: Frames that the model sees, ``model.clip.frames``.

    Raises:
        UserError: Fewer than one frame.
        DataError: No row has labels.
    """
    if frames < 1:
        raise UserError(f"--frames is the number of frames that the model sees, model.clip.frames; got {frames}.")
    if not labels_by_source:
        raise DataError(
            f"no row has a column '{SEGMENTS}', which holds a label for each equal part of the frames, such as "
            "[1, -1, 0, 1]. If it has another name, give it: --option columns='{segments: NAME}'"
        )
    result = TransformResult([])
    result.rows = _split_rows(rows, labels_by_source, frames, result)
    return result


def _split_rows(
    rows: Sequence[PairRow], cells: Mapping[str, Any], frames: int, result: TransformResult
) -> Iterator[PairRow]:
    for row in rows:
        pair = row.pair
        labels = parse_labels(cells.get(pair.source))
        reason, detail = _problem(pair, labels, cells.get(pair.source), frames)
        if reason:
            result.dropped.append(Dropped(pair.source, reason, detail))
            continue
        yield from (PairRow(part, row.columns) for part in split_pair(pair, labels or [], frames))


def _problem(pair: Pair, labels: Sequence[int] | None, cell: Any, frames: int) -> tuple[str, str]:
    """Returns why a row cannot be split, as reason and detail; ("", "") where it can."""
    if cell in (None, "", []):
        return NO_LABEL, f"{SEGMENTS} is empty"
    if labels is None:
        return BAD_LABEL, f"{SEGMENTS} must be a list of 1, -1 and 0, such as [1, -1, 0]; got {str(cell)[:80]}"
    if pair.rejected is None:
        return BAD_LABEL, f"{SEGMENTS} compare two clips, and the row has one"
    if pair.frame_weights:
        return BAD_LABEL, f"the row has both {SEGMENTS} and frame_weights; keep one of them"
    if len(labels) > frames:
        return BAD_LABEL, f"{len(labels)} segments of {frames} frames leave some without a frame"
    return ("", "") if any(labels) else (TIE, "")


def parse_labels(cell: Any) -> list[int] | None:
    """Returns the labels of a cell, a list of 1, -1 and 0, also written as JSON; None for anything else."""
    if isinstance(cell, str):
        with suppress(ValueError):
            cell = json.loads(cell)
    if not isinstance(cell, (list, tuple)) or not cell:
        return None
    numbers = [label for label in cell if isinstance(label, (int, float)) and not isinstance(label, bool)]
    are_labels = len(numbers) == len(cell) and set(numbers) <= {1, -1, 0}
    return [int(label) for label in numbers] if are_labels else None


def read_segment_cells(
    source: str | Path, *, split: str = "train", revision: str | None = None, columns: Columns | None = None
) -> dict[str, Any]:
    """Returns the cells of the column, by the rows' ``"file:row"``; arguments are those of the reader.

    Raises:
        DataError: Two tables have the same name, so that their rows have the same source.
    """
    tables = open_tables(source, split=split, revision=revision, columns=columns)
    names = [table.path.name for table in tables]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise DataError(f"'{source}' has two tables named '{twice}'. Split them one at a time.")
    rows = (row for table in tables for row in table.rows())
    return {row.source: row.values[SEGMENTS] for row in rows if row.values.get(SEGMENTS) is not None}

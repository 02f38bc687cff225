"""Reads VideoAlign's table of votes, and VideoGen-RewardBench, which has the same columns.

Columns: ``path_A``, ``path_B``, ``prompt``, and votes ``VQ`` (visual quality), ``MQ`` (motion quality), ``TA`` (text
alignment), each ``A``, ``B``, ``same`` or ``invalid``; optional ``fps_A``, ``num_frames_A`` (numbers with a fraction),
``MOS_A_VQ`` and the like. Anything but the first three words counts as invalid. VideoGen-RewardBench also has
``Overall``: it measures reward models, so a model that is trained on it can no longer be measured by it.

Source: KwaiVGI/VideoAlign, data.py (arXiv 2501.13918).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.data.readers.formats.clips.clip_cells import clip_of, folder_of
from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    as_number,
    digest,
    only_text,
    read_rows,
    require_columns,
    row_id,
    validate_pair,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import NO_LABEL, TIE, Dropped, Pair
from diffalign.errors import DataError, near_miss

REQUIRED = ("path_A", "path_B", "VQ", "MQ", "TA")
VOTES, MAJORITY, OVERALL = ("VQ", "MQ", "TA"), "majority", "Overall"
LABELS = (*VOTES, MAJORITY, OVERALL)


def read_videoalign(
    tables: Sequence[Table], *, label: str = MAJORITY, root: str | Path | None = None
) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each row.

    Args:
        tables: Tables in any file format.
        label: ``VQ``, ``MQ`` or ``TA``: that vote; ``majority``: the side that won more of the three; ``Overall``: the
            vote of VideoGen-RewardBench.
        root: Folder of the clips; each table's own folder by default.

    Raises:
        DataError: A column is missing, or the label is unknown.
    """
    if label not in LABELS:
        raise DataError(f"label is one of {', '.join(LABELS)}; got {label!r}.{near_miss(str(label), LABELS)}")
    ids = Ids()
    for table in tables:
        needed = (*REQUIRED, "prompt", *((OVERALL,) if label == OVERALL else ()))
        require_columns(table.columns, needed, where=str(table.path), format="videoalign")
        yield from read_rows(table, _read_pair, folder_of(table, root), label, ids)


def _read_pair(row: TableRow, folder: Path, label: str, ids: Ids) -> Pair:
    values = row.values
    first_wins = _first_wins(values, label)
    order = ("A", "B") if first_wins else ("B", "A")
    prompt = only_text(values.get("prompt"), "prompt")
    chosen, rejected = (clip_of(values.get(f"path_{side}"), f"path_{side}", folder) for side in order)
    scores = {role: _numbers(values, side) for role, side in zip(("chosen", "rejected"), order, strict=True)}
    scores["pair"] = {"first_won": float(first_wins)}
    pair = Pair(id="", prompt=prompt, chosen=chosen, rejected=rejected, scores=scores, source=row.source)
    names = [str(values.get(f"path_{side}")) for side in order]
    return replace(validate_pair(pair), id=ids.unique(row_id(values, digest(prompt, *names))))


def _first_wins(values: Mapping[str, Any], label: str) -> bool:
    """Returns whether A won. Drops ties and invalid votes."""
    votes = [str(values.get(name)).strip() for name in VOTES] if label == MAJORITY else [str(values.get(label)).strip()]
    if not {"A", "B", "same"} & set(votes):
        raise Drop(NO_LABEL, f"{label} is invalid")
    lead = votes.count("A") - votes.count("B")
    if not lead:
        raise Drop(TIE, "A and B won equally many votes" if label == MAJORITY else "")
    return lead > 0


def _numbers(values: Mapping[str, Any], side: str) -> dict[str, float]:
    """Returns the numbers of one side: its mean opinion scores."""
    names = {f"MOS_{vote}": f"MOS_{side}_{vote}" for vote in VOTES}
    return {name: number for name, column in names.items() if (number := as_number(values.get(column))) is not None}

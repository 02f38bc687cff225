"""Reads Pick-a-Pic: two images as encoded bytes, a caption, and one person's vote, which may be a tie.

Columns: ``jpg_0``, ``jpg_1`` (bytes), ``label_0`` (1 when image 0 was preferred, 0 when image 1 was, 0.5 for a tie;
``label_1`` is the complement), ``caption``. The published sets are ``yuvalkirstain/pickapic_v2`` and its relatives;
about 12 % of their votes are ties, which Diffusion-DPO (Wallace et al. 2023, arXiv 2311.12908) leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from diffalign.data.readers.rows.parse_row import (
    Drop,
    Ids,
    as_number,
    digest,
    only_text,
    read_rows,
    require_columns,
    stored_bytes,
    validate_pair,
)
from diffalign.data.readers.tables import Table, TableRow
from diffalign.data.records.pair import (
    BAD_LABEL,
    EMPTY_CANDIDATE,
    FILTERED,
    IDENTICAL,
    NO_LABEL,
    TIE,
    Dropped,
    Pair,
)
from diffalign.data.storage.lazy_table_cell import TableCell

REQUIRED = ("jpg_0", "jpg_1", "label_0", "caption")
_FIRST_WON = {"pair": {"first_won": 1.0}}
_SECOND_WON = {"pair": {"first_won": 0.0}}


def read_pickapic(
    tables: Sequence[Table], *, ties: Literal["drop", "soft"] = "drop", generator: str | None = None
) -> Iterator[Pair | Dropped]:
    """Yields a pair or a dropped row for each vote, without reading images where the rows have ids.

    Args:
        tables: Parquet or Arrow tables.
        ties: ``"drop"`` leaves ties out; ``"soft"`` keeps them with probability 0.5.
        generator: Keeps only pairs whose two generators (``model_0``, ``model_1``) both contain this text:
            ``"dream"`` gives the Dreamlike-only subset of the Diffusion-DPO paper.
    """
    ids = Ids()
    for table in tables:
        needed = (*REQUIRED, "model_0", "model_1") if generator else REQUIRED
        require_columns(table.columns, needed, where=str(table.path), format="pickapic")
        yield from read_rows(table, _read_pair, ids, ties, generator)


def _read_pair(row: TableRow, ids: Ids, ties: str, generator: str | None) -> Pair:
    values = row.values
    if generator and not all(generator.lower() in str(values[name] or "").lower() for name in ("model_0", "model_1")):
        raise Drop(FILTERED, f"generator '{generator}'")
    first_preferred = _read_vote(values)
    if first_preferred == 0.5 and ties == "drop":
        raise Drop(TIE)
    uids = values.get("image_0_uid"), values.get("image_1_uid")
    if all(uids) and uids[0] == uids[1]:
        raise Drop(IDENTICAL, str(uids[0]))
    images = values["jpg_0"], values["jpg_1"]
    if not all(isinstance(image, TableCell) for image in images):
        raise Drop(EMPTY_CANDIDATE, "jpg_0 and jpg_1 must be columns of bytes")
    won, lost = (0, 1) if first_preferred >= 0.5 else (1, 0)
    prompt = only_text(values["caption"], "caption")
    if values.get("ranking_id") not in (None, ""):
        name = str(values["ranking_id"])
    elif all(uids):
        name = digest(prompt, str(uids[won]), str(uids[lost]))
    else:
        contents = stored_bytes(images[won]), stored_bytes(images[lost])
        if contents[0] == contents[1]:
            raise Drop(IDENTICAL)
        name = digest(prompt, *contents)
    pair = Pair(
        id=name,
        prompt=prompt,
        chosen=images[won],
        rejected=images[lost],
        probability=max(first_preferred, 1.0 - first_preferred),
        scores=_SECOND_WON if won else _FIRST_WON,
        source=row.source,
    )
    validate_pair(pair)
    return replace(pair, id=ids.unique(name))


def _read_vote(values: Mapping[str, Any]) -> float:
    """Returns the share of the vote for image 0, in [0, 1]."""
    if values.get("has_label") is False or values["label_0"] is None:
        raise Drop(NO_LABEL)
    first, second = as_number(values["label_0"]), as_number(values.get("label_1"))
    if first is None or not 0.0 <= first <= 1.0:
        raise Drop(BAD_LABEL, f"label_0 must lie in [0, 1], got {values['label_0']!r}")
    if second is not None and abs(first + second - 1.0) > 1e-3:
        raise Drop(BAD_LABEL, f"label_0 and label_1 must add up to 1, got {first} and {second}")
    return first

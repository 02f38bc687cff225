"""Rows: what all formats do with one row: numbers, files, ids, and the checks that every pair must pass."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffalign.data.records.conversation import Text
from diffalign.data.records.pair import (
    BAD_LABEL,
    EMPTY_PROMPT,
    IDENTICAL,
    MISSING_FILE,
    OUTSIDE,
    TIE,
    Dropped,
    Media,
    Pair,
)
from diffalign.data.storage.hash_set import HashSet
from diffalign.data.storage.table_cell import inside
from diffalign.errors import DataError, near_miss

IMAGE_SUFFIXES = frozenset((".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".avif", ".jxl"))
VIDEO_SUFFIXES = frozenset((".mp4", ".webm", ".mov", ".mkv", ".avi", ".m4v"))
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
ROLES = ("chosen", "rejected")
PROBABILITY = ("label_prob", "probability")
GROUP = ("group", "domain", "user_id")
"""Columns that say whose judgement a row is, the first that is there."""


class Drop(Exception):
    """Raised while a row is read, to leave it out for a reason."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail

    def at(self, source: str) -> Dropped:
        """The record of it."""
        return Dropped(source, self.reason, self.detail)


def require_columns(columns: Iterable[str], required: Iterable[str], *, where: str, format: str) -> None:
    """Raises DataError that names each missing column, its near miss and the columns that are there."""
    columns = list(columns)
    missing = [name for name in required if name not in columns]
    if not missing:
        return
    spare = [name for name in columns if name not in list(required)]
    guesses = "".join(near_miss(name, spare) for name in missing)
    names = ", ".join(f"'{name}'" for name in missing)
    raise DataError(
        f"'{where}' lacks the column{'s' * (len(missing) > 1)} {names}, which the {format} format needs.{guesses} "
        f"Columns there: {', '.join(columns) or 'none'}. If a column goes by another name, "
        f"say so: columns={{'{missing[0]}': '<its name in the file>'}}."
    )


def as_number(value: Any) -> float | None:
    """A finite number, from a number or its text; None for anything else, also for NaN."""
    if value is None or isinstance(value, (bytes, list, dict)):
        return None
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def as_bool(value: Any) -> bool:
    """A flag, from a boolean, a number or its text."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "1.0", "yes")
    return bool(value)


def label_probability(values: Mapping[str, Any]) -> float:
    """The row's ``label_prob`` (or ``probability``), 1 when it has none. Drops ties and values outside [0, 1]."""
    if as_bool(values.get("tie")):
        raise Drop(TIE)
    for name in PROBABILITY:
        if values.get(name) not in (None, ""):
            value = as_number(values[name])
            if value is None or not 0.0 <= value <= 1.0:
                raise Drop(BAD_LABEL, f"{name} must lie in [0, 1], got {values[name]!r}")
            return value
    return 1.0


def scores_of(values: Mapping[str, Any], used: Iterable[str]) -> dict[str, dict[str, float]]:
    """The numeric columns that no reader used: ``chosen_x`` and ``rejected_x``, or ``x_chosen`` and ``x_rejected``, by
    role; the rest under ``"pair"``."""
    skip = {*used, *PROBABILITY, *GROUP, "id", "tie"}
    scores: dict[str, dict[str, float]] = {}
    for name, given in values.items():
        unused = name in skip or name.endswith("_id") or isinstance(given, str) and not given.strip()
        value = None if unused else as_number(given)
        if value is None:
            continue
        role, _, rest = name.partition("_")
        if role not in ROLES or not rest:
            rest, _, role = name.rpartition("_")
        if role not in ROLES or not rest:
            role, rest = "pair", name
        scores.setdefault(role, {})[rest] = value
    return scores


def existing_file(root: Path, name: str) -> Path:
    """The file that a cell names, which must lie within ``root`` and exist; drops the row otherwise."""
    if "://" in name:
        raise Drop(MISSING_FILE, f"'{name}' is an address; download it first")
    path = inside(root, name)
    if path is None:
        raise Drop(OUTSIDE, f"'{name}' lies outside '{root}'; if it may be read, set root to a folder that holds it")
    if not path.is_file():
        raise Drop(MISSING_FILE, f"'{name}'")
    return path


def digest(*parts: str | bytes) -> str:
    """24 hexadecimal digits of the parts, each hashed with its length so that ``ab, c`` and ``a, bc`` differ."""
    state = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def content_parts(text: Text) -> list[str]:
    """What :func:`digest` is given of a text: itself, or its turns."""
    if isinstance(text, str):
        return [text]
    return [part for turn in text.messages for part in (turn.role, turn.content)]


def group_of(values: Mapping[str, Any]) -> str:
    """Whose judgement the row is, or from which domain; "" where no column says."""
    return next((str(values[name]) for name in GROUP if values.get(name) not in (None, "")), "")


def row_id(values: Mapping[str, Any], otherwise: str) -> str:
    """What the row calls itself, else ``otherwise``."""
    return str(values["id"]) if values.get("id") not in (None, "") else otherwise


class Ids:
    """Keeps ids unique: the second row of the same id becomes ``id-2``, in the order of the data."""

    def __init__(self) -> None:
        self._seen = HashSet()
        self._uses: dict[str, int] = {}

    def unique(self, base: str) -> str:
        """``base``, or ``base-n`` for its n-th use."""
        name, uses = base, self._uses.get(base, 1)
        while not self._seen.add(name):
            uses += 1
            name = f"{base}-{uses}"
        if uses > 1:
            self._uses[base] = uses
        return name


def validate_pair(pair: Pair) -> Pair:
    """The pair, when its prompt is not empty and its candidates differ; drops it otherwise."""
    if not str(pair.prompt).strip():
        raise Drop(EMPTY_PROMPT)
    if is_same_candidate(pair.chosen, pair.rejected) and pair.rejected_prompt in (None, pair.prompt):
        raise Drop(IDENTICAL)
    return pair


def is_same_candidate(one: Media, other: Media | None) -> bool:
    """Whether two candidates are the same file, handle, text or bytes. Contents of two files are not compared here."""
    return type(one) is type(other) and one == other

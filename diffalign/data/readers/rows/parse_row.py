"""Parsing of one row, shared by all formats: numbers, files, ids, and the checks that every pair must pass."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.data.readers.file_names import local_name, without_query
from diffalign.data.readers.tables import Table
from diffalign.data.records.conversation import Text
from diffalign.data.records.frame_weights import FRAME_WEIGHTS, parse_frame_weights
from diffalign.data.records.pair import (
    BAD_LABEL,
    BAD_ROW,
    EMPTY_CANDIDATE,
    EMPTY_PROMPT,
    IDENTICAL,
    MISSING_FILE,
    OUTSIDE,
    TIE,
    Dropped,
    Media,
    Pair,
)
from diffalign.data.storage.frame_files import frames_of, is_frame_folder
from diffalign.data.storage.hash_set import HashSet
from diffalign.data.storage.inside_folder import inside
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError, near_miss
from diffalign.files.text_files import is_file

ROLES = ("chosen", "rejected")
PROBABILITY = ("label_prob", "probability")
FASTEST = 1000.0
"""Most frames per second that a row may state."""
GROUP = ("group", "domain", "user_id")
"""Columns that name the annotator or domain of a row; the first one present is read."""


class Drop(Exception):
    """Raised while a row is parsed, to leave it out for a reason."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail

    def at(self, source: str) -> Dropped:
        """Returns the dropped row for a report."""
        return Dropped(source, self.reason, self.detail)


def read_rows(table: Table, read: Callable[..., Pair], *context: Any) -> Iterator[Pair | Dropped]:
    """Yields ``read(row, *context)`` for each row, or the dropped row where it raises :class:`Drop`.

    Rows that the table itself could not read are dropped without a call. A column ``frame_weights`` is read for every
    format.
    """
    for row in table.rows():
        try:
            if row.problem:
                raise Drop(BAD_ROW, row.problem)
            yield _with_frame_weights(read(row, *context), row.values)
        except Drop as drop:
            yield drop.at(row.source)


def _with_frame_weights(pair: Pair, values: Mapping[str, Any]) -> Pair:
    try:
        weights = parse_frame_weights(values.get(FRAME_WEIGHTS))
    except DataError as error:
        raise Drop(BAD_LABEL, str(error)) from error
    return replace(pair, frame_weights=weights) if weights else pair


def require_columns(columns: Iterable[str], required: Iterable[str], *, where: str, format: str) -> None:
    """Raises DataError where columns are missing: names each one, its near miss and the columns that exist."""
    columns = list(columns)
    missing = [name for name in required if name not in columns]
    if not missing:
        return
    spare = [name for name in columns if name not in list(required)]
    guesses = "".join(near_miss(name, spare) for name in missing)
    names = ", ".join(f"'{name}'" for name in missing)
    raise DataError(
        f"'{where}' lacks the column{'s' * (len(missing) > 1)} {names}, which the {format} format needs.{guesses} "
        f"Columns there: {', '.join(columns) or 'none'}. If a column has another name, "
        f"give it: columns={{'{missing[0]}': '<its name in the file>'}}."
    )


def column_for(name: str, aliases: Mapping[str, tuple[str, ...]], columns: Iterable[str]) -> str:
    """Returns the name that a required column has among ``columns``: its own, an alias, or its own without either."""
    return next((alias for alias in (name, *aliases.get(name, ())) if alias in columns), name)


def only_text(cell: Any, column: str) -> str:
    """Returns the text of a cell, also of a list with one text; an absent cell gives ``""``. Drops the row of anything
    else, whose Python form would become the text.
    """
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if isinstance(cell, list):
        raise Drop(BAD_ROW, f"{column} holds {len(cell)} values; one text was expected: keep one of them")
    if cell is not None and not isinstance(cell, (str, int, float)):
        raise Drop(BAD_ROW, f"{column} must be text; got {type(cell).__name__}")
    return "" if cell is None else str(cell)


def as_number(value: Any) -> float | None:
    """Converts a number or its text to a finite float; returns None for anything else, including NaN."""
    if value is None or isinstance(value, (bytes, list, dict)):
        return None
    try:
        value = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def as_bool(value: Any) -> bool:
    """Converts a boolean, a number or its text to a flag."""
    if isinstance(value, str):
        return value.strip().lower() in ("true", "1", "1.0", "yes")
    return bool(value)


def label_probability(values: Mapping[str, Any]) -> float:
    """Returns the row's ``label_prob`` (or ``probability``), 1 without one. Drops ties and values outside [0, 1]."""
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
    """Returns the numeric columns that the reader does not use: ``chosen_x`` and ``rejected_x``, or ``x_chosen`` and
    ``x_rejected``, by role, and the others under ``"pair"``.
    """
    skip = {*used, *PROBABILITY, *GROUP, "id", "tie"}
    scores: dict[str, dict[str, float]] = {}
    for column, cell in values.items():
        skipped = column in skip or column.endswith("_id") or isinstance(cell, str) and not cell.strip()
        value = None if skipped else as_number(cell)
        if value is None:
            continue
        role, _, name = column.partition("_")
        if role not in ROLES or not name:
            name, _, role = column.rpartition("_")
        if role not in ROLES or not name:
            role, name = "pair", column
        scores.setdefault(role, {})[name] = value
        values[column]  # counts as read
    return scores


def existing_file(root: Path, name: str) -> Path:
    """Returns the file that a cell names, or the folder of a clip's frames. Drops the row unless it exists and lies
    within ``root``.
    """
    if name.startswith("data:"):
        raise Drop(MISSING_FILE, f"'{name[:40]}...' is a file as text; save it as a file and name that")
    name = local_name(name)
    if "://" in name:
        raise Drop(MISSING_FILE, f"'{name}' is a URL; download it first")
    path = inside(root, name)
    if path is None:
        raise Drop(OUTSIDE, f"'{name}' lies outside '{root}'; to allow it, give root=FOLDER, one that contains it")
    if is_file(path) or is_frame_folder(path):
        return path
    bare = inside(root, without_query(name))
    if bare is None or not is_file(bare):
        raise Drop(MISSING_FILE, f"'{name}'")
    return bare


def with_rate(candidate: Media, values: Mapping[str, Any], role: str) -> Media:
    """Returns a candidate that is a folder of frames with the rate that its row states: ``chosen_fps`` or ``fps``."""
    if not isinstance(candidate, Path) or not candidate.is_dir():
        return candidate
    name = next((name for name in (f"{role}_fps", "fps") if values.get(name) not in (None, "")), "")
    if not name:
        return candidate
    rate = as_number(values[name])
    if rate is None or not 0 < rate <= FASTEST:
        raise Drop(BAD_ROW, f"{name} must be a number of frames per second, got {values[name]!r}")
    return frames_of(candidate, rate)


def stored_bytes(cell: TableCell) -> bytes:
    """Returns the bytes of a cell. Drops the row where it is empty or cannot be read."""
    try:
        return cell.read()
    except DataError as error:
        raise Drop(EMPTY_CANDIDATE, str(error)) from error


def digest(*parts: str | bytes) -> str:
    """Hashes the parts to 24 hexadecimal digits, each with its length so that ``ab, c`` and ``a, bc`` differ."""
    state = hashlib.blake2b(digest_size=12)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def content_parts(text: Text) -> list[str]:
    """Returns the parts of a text for :func:`digest`: the string itself, or what each turn holds, and the tools."""
    if isinstance(text, str):
        return [text]
    parts = []
    for turn in text.messages:
        parts += [turn.role, turn.content, *([turn.fields_json] if turn.fields_json else [])]
    return [*parts, text.tools_json] if text.tools_json else parts


def group_of(values: Mapping[str, Any]) -> str:
    """Returns the annotator or domain of the row; "" where no column names it."""
    return next((str(values[name]) for name in GROUP if values.get(name) not in (None, "")), "")


def row_id(values: Mapping[str, Any], default: str) -> str:
    """Returns the row's own id, or ``default`` where it has none."""
    return str(values["id"]) if values.get("id") not in (None, "") else default


class Ids:
    """Makes ids unique: the second row with the same id becomes ``id-2``, in the order of the data."""

    def __init__(self) -> None:
        self._used = HashSet()
        self._uses: dict[str, int] = {}

    def unique(self, base: str) -> str:
        """Returns ``base``, or ``base-n`` for its n-th use."""
        name, uses = base, self._uses.get(base, 1)
        while not self._used.add(name):
            uses += 1
            name = f"{base}-{uses}"
        if uses > 1:
            self._uses[base] = uses
        return name


def validate_pair(pair: Pair) -> Pair:
    """Returns the pair. Drops it when its prompt is empty or its candidates are the same."""
    if not str(pair.prompt).strip():
        raise Drop(EMPTY_PROMPT)
    if is_same_candidate(pair.chosen, pair.rejected) and pair.rejected_prompt in (None, pair.prompt):
        raise Drop(IDENTICAL)
    return pair


def is_same_candidate(first: Media, second: Media | None) -> bool:
    """Returns whether two candidates are the same file, handle, text or bytes, without reading any file."""
    return type(first) is type(second) and first == second

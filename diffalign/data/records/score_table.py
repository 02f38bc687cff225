"""Files of scores that are stored with the pairs: the scores of both candidates, one file per scorer.

    pairs/scores/pickscore.jsonl
    {"scorer": "pickscore", "unit": "logit", "weights": "9c1f...", "pairs": 2, "low": 19.5, "high": 22.25,
     "preprocessing": "224 shortest bicubic, centre crop"}
    {"id": "a1", "chosen": 22.25, "rejected": 20.125}
    {"id": "b7", "chosen": 19.5, "rejected": 21.0}

``low`` and ``high`` are the smallest and largest score of the whole table, over both candidates: min-max normalisation
depends on the scores only and must not change when a run uses a part of the pairs.

A number of the example as a whole, such as a weight, is stored under the role that the first line names:
``"roles": ["pair"]`` there, then ``{"id": "a1", "pair": 0.5}``. Where the scorer prepares its samples, the first line
says how, as ``"preprocessing"``; all rows refer to it.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diffalign.data.records.lazy_pairs import map_pairs
from diffalign.data.records.pair import Pair, PairSet
from diffalign.errors import DataError, near_miss
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import json_line, parse_json

SCORES = "scores"
"""Name of the subfolder of a data folder, and part of a file's name, that hold scores: never read as pairs."""

ROLES = ("chosen", "rejected")

Rows = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class ScoreTable:
    """One scorer's scores of a data set.

    Args:
        scorer: The scorer, as ``--scorer`` names it: the key of the scores in a pair.
        rows: ``{pair id: (score of chosen, score of rejected)}``, or one number for each of ``roles``.
        low, high: Smallest and largest score of the whole table.
        unit: The unit of a score.
        weights: Hash of the scorer's parameters; empty for one without any.
        path: The file, for messages.
        roles: The roles that the numbers belong to: both candidates, or ``("pair",)`` for the example as a whole.
        preprocessing: How the scorer prepares a sample; empty where it says nothing, and in tables of earlier versions.
    """

    scorer: str
    rows: Rows
    low: float
    high: float
    unit: str = ""
    weights: str = ""
    path: str = ""
    roles: tuple[str, ...] = ROLES
    preprocessing: str = ""


def scores_path(source: str | Path, scorer: str, split: str = "train") -> Path | None:
    """Returns the default path of a data set's scores: in a folder's ``scores/``, next to a file; None for a Hub id."""
    name = re.sub(r"[^\w.-]+", "_", scorer).strip("._") + ("" if split == "train" else f"-{split}")
    path = Path(source).expanduser()
    if path.is_dir():
        return path / SCORES / f"{name}.jsonl"
    return path.with_name(f"{path.stem}.{SCORES}.{name}.jsonl") if path.is_file() else None


def is_score_file(path: Path, folder: Path) -> bool:
    """Returns whether a file of a data folder holds scores of its pairs, by the names of :func:`scores_path`."""
    return path.relative_to(folder).parts[:-1] == (SCORES,) or f".{SCORES}." in path.name


def score_command(source: str, scorer: str) -> str:
    """Returns the command that makes scores, for messages."""
    return f"diffalign score {shlex.quote(source or 'DATA')} --scorer {shlex.quote(scorer)}"


def write_scores(
    path: Path,
    scorer: str,
    rows: Rows,
    *,
    unit: str = "",
    weights: str = "",
    roles: tuple[str, ...] = ROLES,
    preprocessing: str = "",
) -> ScoreTable:
    """Writes a table atomically and returns it. Floats are written so that they read back exactly."""
    values = [value for row in rows.values() for value in row]
    low, high = min(values), max(values)
    head: dict[str, Any] = {"scorer": scorer, "unit": unit, "weights": weights}
    head |= {"pairs": len(rows), "low": low, "high": high} | ({} if roles == ROLES else {"roles": roles})
    head |= {"preprocessing": preprocessing} if preprocessing else {}

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json_line(head))
            file.writelines(score_line(name, row, roles) for name, row in rows.items())

    write_atomically(path, write)
    return ScoreTable(scorer, rows, low, high, unit, weights, str(path), roles, preprocessing)


def score_line(name: str, row: tuple[float, ...], roles: Sequence[str] = ROLES) -> str:
    """Returns the line of one pair."""
    return json_line({"id": name, **dict(zip(roles, row, strict=True))})


def parse_score_row(values: Any, roles: Sequence[str] = ROLES) -> tuple[str, tuple[float, ...]]:
    """Returns a pair's id and scores from the value of a line. Raises ValueError unless it holds finite scores."""
    if not isinstance(values, dict) or not {"id", *roles} <= set(values):
        raise ValueError(f"expected an object with id, {' and '.join(roles)}")
    return str(values["id"]), tuple(_finite_number(values[role]) for role in roles)


def read_scores(path: str | Path) -> ScoreTable:
    """Reads a file of scores.

    Raises:
        DataError: The file does not exist, holds no scores, or was truncated or edited.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise _missing_file(path)
    rows: dict[str, tuple[float, ...]] = {}
    number = 1
    try:
        with path.open(encoding="utf-8") as lines:
            head: Any = parse_json(next(lines, "null"))
            scorer, count = str(head["scorer"]), int(head["pairs"])
            low, high = _finite_number(head["low"]), _finite_number(head["high"])
            roles = tuple(map(str, head.get("roles", ROLES)))
            for number, line in enumerate(lines, 2):  # noqa: B007  (for the message below)
                name, row = parse_score_row(parse_json(line), roles)
                if name in rows:
                    raise ValueError(f"the pair '{name}' occurs twice")
                if not low <= min(row) <= max(row) <= high:
                    raise ValueError(f"a score lies outside [{low}, {high}], which the first line states")
                rows[name] = row
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        problem = f"no '{error.args[0]}'" if isinstance(error, KeyError) else str(error)
        raise DataError(
            f"{path}, line {number}, is not a line of a file of scores: {problem}. Expected a file that `diffalign "
            "score` wrote for pairs. Delete this one and run that command again."
        ) from error
    if len(rows) != count:
        raise DataError(
            f"{path} states {count:,} pairs and holds {len(rows):,}. Copy it again, or delete it and run `diffalign "
            "score` again."
        )
    unit, weights, preprocessing = (str(head.get(name, "")) for name in ("unit", "weights", "preprocessing"))
    return ScoreTable(scorer, rows, low, high, unit, weights, str(path), roles, preprocessing)


def with_scores(pairs: PairSet | Sequence[Pair], tables: Iterable[ScoreTable]) -> PairSet:
    """Adds the tables' scores to ``Pair.scores`` and the tables' ranges to the data set.

    A table's scores replace those of the same name that a pair already has. Several tables of one scorer, for parts of
    the data for instance, are merged.

    Raises:
        DataError: A pair has no score in a table; two tables of one scorer contradict each other.
    """
    dataset = pairs if isinstance(pairs, PairSet) else PairSet(pairs, ranges=ranges_of(pairs))
    merged = _merge_tables(tables)
    for table in merged:
        missing = [pair.source or pair.id for pair in dataset.pairs if pair.id not in table.rows]
        if missing:
            first = missing[0]
            raise DataError(
                f"{len(missing):,} of {len(dataset):,} pairs have no score by '{table.scorer}' in {table.path}; the "
                f"first is {first}. Were they scored with other options of the format, or has the data grown? Type: "
                f"{score_command(dataset.source, table.scorer)}"
            )
    ranges = {**dataset.ranges, **{table.scorer: (table.low, table.high) for table in merged if table.roles == ROLES}}
    return replace(dataset, pairs=map_pairs(dataset.pairs, lambda pair: _add_scores(pair, merged)), ranges=ranges)


def ranges_of(pairs: Iterable[Pair]) -> dict[str, tuple[float, float]]:
    """Returns ``{scorer: (smallest, largest)}`` over the pairs whose two candidates both have the scorer's score."""
    ranges: dict[str, tuple[float, float]] = {}
    for pair in pairs:
        chosen, rejected = pair.scores.get("chosen", {}), pair.scores.get("rejected", {})
        for scorer in chosen:
            if scorer in rejected:
                values = chosen[scorer], rejected[scorer]
                low, high = ranges.get(scorer, (math.inf, -math.inf))
                ranges[scorer] = min(low, *values), max(high, *values)
    return ranges


def _add_scores(pair: Pair, tables: Sequence[ScoreTable]) -> Pair:
    scores = dict(pair.scores)
    for table in tables:
        for role, score in zip(table.roles, table.rows[pair.id], strict=True):
            scores[role] = {**scores.get(role, {}), table.scorer: score}
    return replace(pair, scores=scores)


def _merge_tables(tables: Iterable[ScoreTable]) -> list[ScoreTable]:
    by_scorer: dict[str, ScoreTable] = {}
    for table in tables:
        other = by_scorer.get(table.scorer)
        if other is not None:
            both = f"{other.path} and {table.path} both hold scores by '{table.scorer}'"
            if table.roles != other.roles:
                roles = f"{' and '.join(other.roles)} in the first, {' and '.join(table.roles)} in the second"
                raise DataError(f"{both}, but for different roles: {roles}. Give one of them.")
            if table.weights != other.weights:
                raise DataError(f"{both}, by different weights, so they cannot be compared. Give one of them.")
            if any(other.rows.get(name, row) != row for name, row in table.rows.items()):
                raise DataError(f"{both} and differ on the same pairs. Give one of them.")
            low, high = min(table.low, other.low), max(table.high, other.high)
            table = replace(other, rows={**other.rows, **table.rows}, low=low, high=high)
        by_scorer[table.scorer] = table
    return list(by_scorer.values())


def _missing_file(path: Path) -> DataError:
    if path.is_dir():
        return DataError(f"'{path}' is a folder. Name a file of scores in it, as `diffalign score` wrote it.")
    part = path.with_name(path.name + ".part")
    if part.is_file():
        return DataError(f"{path} is not complete yet. Type its `diffalign score` command again: it will resume.")
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return DataError(
        f"there is no file of scores at {path}.{near_miss(path.name, siblings)} Make it with "
        "`diffalign score DATA --scorer NAME`, which prints where it writes."
    )


def _finite_number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"expected a finite number, got {value!r}")
    return float(value)

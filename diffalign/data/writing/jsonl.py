"""Writes pairs as JSON lines in TRL's columns, from which diffalign's readers return equal pairs.

    {"id": "a1", "prompt": "...", "chosen": "...", "rejected": "...", "label_prob": 0.9, "chosen_judge": 1.5}

Texts stay plain or in turns. Images and videos are named relative to the table. Those in its folder keep their names;
others are linked, or copied where the disk cannot link, into ``files/`` next to it, so that the folder can be moved and
shared. Single answers are written as TRL's ``prompt``, ``completion``, ``label``; single images as ``file_name``,
``prompt``; ranked lists as ``prompt``, ``completions``, ``scores``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.data.readers.formats.pairs_with_extra_columns import USED, PairRow, rank_roles
from diffalign.data.readers.formats.trl import FURTHER
from diffalign.data.readers.rows.parse_row import ROLES, scores_of
from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.frame_weights import FRAME_WEIGHTS
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.hash_set import HashSet
from diffalign.data.writing.media_files import MediaFiles
from diffalign.errors import DataError, UserError
from diffalign.files.atomic import write_atomically
from diffalign.files.json_lines import json_line

_READ_COLUMNS = {"rejected_prompt", "augmented_prompt", *(name for names in FURTHER.values() for name in names)}


def write_pairs(path: str | Path, rows: Iterable[PairRow]) -> int:
    """Writes a table atomically and returns its number of rows.

    Args:
        path: A file ``.jsonl``; its folder is created.
        rows: Pairs with their further columns, read one by one; ids are unique.

    Raises:
        UserError: The file is not ``.jsonl``.
        DataError: There are no rows; single examples are mixed with pairs; the columns cannot hold a pair.
    """
    path = Path(path).expanduser()
    if path.suffix != ".jsonl":
        raise UserError(f"pairs are written as JSON lines; got the name '{path.name}'. Type: {path.stem}.jsonl")
    files, ids = MediaFiles(path.parent), HashSet()
    table_kind = ""
    count = 0

    def write(temporary: Path) -> None:
        nonlocal count, table_kind
        with temporary.open("w", encoding="utf-8") as out:
            for row in rows:
                pair, count = row.pair, count + 1
                kind = "singles" if pair.rejected is None else "lists" if rank_roles(pair) else "pairs"
                table_kind = table_kind or kind
                if kind != table_kind and (kind, table_kind) != ("pairs", "lists"):
                    raise DataError(
                        f"{_place(pair)}: {table_kind} and {kind} cannot be written into one file. Where ranked lists "
                        "have several sizes, the first must have three answers or more."
                    )
                if not ids.add(pair.id):
                    raise DataError(
                        f"{_place(pair)}: the id '{pair.id}' occurs twice. Ids must be unique, since random draws "
                        "depend on them."
                    )
                out.write(json_line(columns_of(row, files, ranked=table_kind == "lists")))
        if not count:
            raise DataError(f"there are no rows to write into '{path}'.")

    write_atomically(path, write)
    return count


def columns_of(row: PairRow, files: MediaFiles, ranked: bool = False) -> dict[str, Any]:
    """Returns a row's columns; with ``ranked`` as a list of completions with their scores.

    Raises:
        DataError: The columns cannot hold the pair, or readers would not return it unchanged.
    """
    pair = row.pair
    columns: dict[str, Any] = {"id": pair.id, "prompt": _text_cell(pair.prompt)}
    scores, ranks = {role: dict(values) for role, values in pair.scores.items()}, rank_roles(pair) if ranked else []
    if ranked:
        roles = ["chosen", *ranks, "rejected"]
        name = next((name for name in ("score", "reward") if all(name in scores.get(role, {}) for role in roles)), "")
        columns["completions"] = [_cell(pair.answers[role].candidate, files) for role in roles]
        columns[f"{name}s"] = rank_scores = [scores[role].pop(name) for role in roles] if name else []
        if not name or rank_scores != sorted(rank_scores, reverse=True):
            raise DataError(f"{_place(pair)} cannot be written: a ranked list needs scores that fall with the rank.")
    elif pair.rejected is not None:
        columns |= {role: _cell(answer.candidate, files) for role, answer in pair.answers.items() if role in ROLES}
    elif isinstance(pair.chosen, (str, Conversation)):
        columns |= {"completion": _text_cell(pair.chosen), "label": pair.desirable}
    else:
        columns["file_name"] = _cell(pair.chosen, files)
    if pair.rejected_prompt is not None:
        columns["rejected_prompt"] = _text_cell(pair.rejected_prompt)
    if isinstance(pair.prompt, Conversation) and pair.prompt.tools_json:
        columns["tools"] = pair.prompt.tools
    for role, answer in pair.further.items():
        if role in ranks:
            continue
        columns[role] = _cell(answer.candidate, files)
        if answer.prompt is not None:
            columns["augmented_prompt"] = _text_cell(answer.prompt)
    if pair.probability != 1.0:
        columns["label_prob"] = pair.probability
    if pair.frame_weights:
        columns[FRAME_WEIGHTS] = list(pair.frame_weights)
    if pair.group:
        columns["group"] = pair.group
    used = {*columns, *_READ_COLUMNS}
    for role, values in scores.items():
        columns |= {name if role == "pair" else f"{role}_{name}": value for name, value in values.items()}
    further = {role: answer for role, answer in pair.further.items() if role not in ranks}
    _check_roundtrip(replace(pair, scores=scores, further=further), columns, used, row.columns, ranked)
    return columns | {name: value for name, value in row.columns.items() if name not in columns}


def _check_roundtrip(
    pair: Pair, columns: Mapping[str, Any], used: set[str], further_columns: Mapping[str, Any], ranked: bool
) -> None:
    """Raises DataError unless readers would return the pair unchanged."""
    scores = {role: dict(values) for role, values in pair.scores.items() if values}
    problem = ""
    if unknown := [role for role in pair.further if role not in FURTHER]:
        problem = f"its answer '{unknown[0]}' has no column"
    elif any(a.prompt is not None and not role.startswith("augmented") for role, a in pair.further.items()):
        problem = "one of its further answers has its own prompt, which only augmented answers can have"
    elif len({str(a.prompt) for role, a in pair.further.items() if role.startswith("augmented")}) > 1:
        problem = "its augmented answers have different prompts"
    elif ranked and (pair.further or pair.probability != 1.0 or pair.rejected_prompt is not None):
        problem = "a ranked list cannot have a probability, a second prompt or answers without a rank"
    elif pair.rejected is None and (pair.further or pair.probability != 1.0):
        problem = "a single example cannot have a probability or further answers"
    elif pair.rejected is None and "label" not in columns and not pair.desirable:
        problem = "single images are winners; an undesirable one has no format"
    elif not pair.id:
        problem = "it has no id"
    elif scores_of(columns, used) != scores:
        stored = {(role, name) for role, values in scores.items() for name in values}
        readable = {(role, name) for role, values in scores_of(columns, used).items() for name in values}
        problem = f"the score {sorted(stored - readable)[:1] or '(not a finite number)'} would not be read back"
    elif reserved := [name for name in further_columns if name in USED]:
        problem = f"readers give the column '{reserved[0]}' another meaning"
    if problem:
        raise DataError(f"{_place(pair)} cannot be written: {problem}.")


def _place(pair: Pair) -> str:
    return pair.source or f"pair '{pair.id}'"


def _text_cell(text: Text) -> str | list[dict[str, Any]]:
    return text.rows() if isinstance(text, Conversation) else text


def _cell(candidate: Media, files: MediaFiles) -> str | list[dict[str, Any]]:
    return _text_cell(candidate) if isinstance(candidate, (str, Conversation)) else files.name(candidate)

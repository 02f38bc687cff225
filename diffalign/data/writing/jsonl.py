"""Writing pairs as the ecosystem reads them: JSON lines in TRL's columns, which our readers give back as they were.

    {"id": "a1", "prompt": "...", "chosen": "...", "rejected": "...", "label_prob": 0.9, "chosen_judge": 1.5}

Texts stay plain or in turns. Images and clips are named relative to the table: those that lie in its folder as they
are; others are linked, or copied where the disk cannot link, into ``files/`` beside it, so that the folder can be moved
and shared. Single answers are TRL's ``prompt``, ``completion``, ``label``; single images ``file_name``,
``prompt``; ranked lists ``prompt``, ``completions``, ``scores``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffalign.data.readers.parse_row import ROLES, scores_of
from diffalign.data.readers.rows_with_columns import USED, PairRow, rank_roles
from diffalign.data.readers.trl import FURTHER
from diffalign.data.records.conversation import Conversation, Text
from diffalign.data.records.pair import Media, Pair
from diffalign.data.storage.hash_set import HashSet
from diffalign.data.writing.media_files import MediaFiles
from diffalign.errors import DataError, UserError
from diffalign.sharing.atomic import write_atomically

_READ = {"rejected_prompt", "augmented_prompt", *(name for names in FURTHER.values() for name in names)}


def write_pairs(path: str | Path, lines: Iterable[PairRow]) -> int:
    """Writes a table as a whole, or not at all, and returns how many rows it has.

    Args:
        path: A file ``.jsonl``; its folder is made.
        lines: Pairs with their further columns, taken one by one; ids are unique.

    Raises:
        UserError: Another kind of file.
        DataError: No line at all; singles among pairs; a pair that the columns cannot hold.
    """
    path = Path(path).expanduser()
    if path.suffix != ".jsonl":
        raise UserError(f"pairs are written as JSON lines; got the name '{path.name}'. Type: {path.stem}.jsonl")
    files, ids = MediaFiles(path.parent), HashSet()
    kinds: list[str] = []
    count = 0

    def write(beside: Path) -> None:
        nonlocal count, kinds
        with beside.open("w", encoding="utf-8") as out:
            for line in lines:
                pair, count = line.pair, count + 1
                kind = "singles" if pair.rejected is None else "lists" if rank_roles(pair) else "pairs"
                kinds = kinds or [kind]
                if kind not in kinds and (kind, kinds[0]) != ("pairs", "lists"):
                    raise DataError(
                        f"{_place(pair)}: {kinds[0]} and {kind} do not go into one file. Of ranked lists of several "
                        "sizes the first must have three answers or more."
                    )
                if not ids.add(pair.id):
                    raise DataError(f"{_place(pair)}: the id '{pair.id}' is there twice, and draws are keyed by it.")
                out.write(json_line(row_of(line, files, ranked=kinds == ["lists"])))
        if not count:
            raise DataError(f"no row is left to be written into '{path}'.")

    write_atomically(path, write)
    return count


def row_of(line: PairRow, files: MediaFiles, ranked: bool = False) -> dict[str, Any]:
    """A line as the columns of its row; ``ranked``: as a list of completions with their scores.

    Raises:
        DataError: What the columns cannot hold, or what would not be read back as it is.
    """
    pair = line.pair
    row: dict[str, Any] = {"id": pair.id, "prompt": _text(pair.prompt)}
    scores, ranks = {role: dict(values) for role, values in pair.scores.items()}, rank_roles(pair) if ranked else []
    if ranked:
        roles = ["chosen", *ranks, "rejected"]
        name = next((name for name in ("score", "reward") if all(name in scores.get(role, {}) for role in roles)), "")
        row["completions"] = [_cell(pair.answers[role].candidate, files) for role in roles]
        row[f"{name}s"] = given = [scores[role].pop(name) for role in roles] if name else []
        if not name or given != sorted(given, reverse=True):
            raise DataError(f"{_place(pair)} cannot be written: a ranked list needs scores that fall with the rank.")
    elif pair.rejected is not None:
        row |= {role: _cell(answer.candidate, files) for role, answer in pair.answers.items() if role in ROLES}
    elif isinstance(pair.chosen, (str, Conversation)):
        row |= {"completion": _text(pair.chosen), "label": pair.desirable}
    else:
        row["file_name"] = _cell(pair.chosen, files)
    if pair.rejected_prompt is not None:
        row["rejected_prompt"] = _text(pair.rejected_prompt)
    for role, answer in pair.further.items():
        if role in ranks:
            continue
        row[role] = _cell(answer.candidate, files)
        if answer.prompt is not None:
            row["augmented_prompt"] = _text(answer.prompt)
    if pair.probability != 1.0:
        row["label_prob"] = pair.probability
    if pair.group:
        row["group"] = pair.group
    used = {*row, *_READ}
    for role, values in scores.items():
        row |= {name if role == "pair" else f"{role}_{name}": value for name, value in values.items()}
    further = {role: answer for role, answer in pair.further.items() if role not in ranks}
    _check(replace(pair, scores=scores, further=further), row, used, line.columns, ranked)
    return row | {name: value for name, value in line.columns.items() if name not in row}


def json_line(row: Mapping[str, Any]) -> str:
    """A row as one line; text stays readable unless UTF-8 cannot hold it."""
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, as JSON may spell it
        text = json.dumps(row)
    return text + "\n"


def _check(pair: Pair, row: Mapping[str, Any], used: set[str], columns: Mapping[str, Any], ranked: bool) -> None:
    scores = {role: dict(values) for role, values in pair.scores.items() if values}
    problem = ""
    if unknown := [role for role in pair.further if role not in FURTHER]:
        problem = f"its answer '{unknown[0]}' has no column"
    elif any(a.prompt is not None and not role.startswith("augmented") for role, a in pair.further.items()):
        problem = "one of its further answers has a prompt of its own, and only augmented ones can"
    elif len({str(a.prompt) for role, a in pair.further.items() if role.startswith("augmented")}) > 1:
        problem = "its augmented answers have different prompts"
    elif ranked and (pair.further or pair.probability != 1.0 or pair.rejected_prompt is not None):
        problem = "a ranked list cannot have a probability, a second prompt or answers without a rank"
    elif pair.rejected is None and (pair.further or pair.probability != 1.0):
        problem = "a single example cannot have a probability or further answers"
    elif pair.rejected is None and "label" not in row and not pair.desirable:
        problem = "single images are winners; one that is to be avoided has no format"
    elif not pair.id:
        problem = "it has no id"
    elif scores_of(row, used) != scores:
        lost = {(role, name) for role, values in scores.items() for name in values}
        kept = {(role, name) for role, values in scores_of(row, used).items() for name in values}
        problem = f"the score {sorted(lost - kept)[:1] or '(not a finite number)'} would not be read back"
    elif taken := [name for name in columns if name in USED]:
        problem = f"'{taken[0]}' means something else to readers"
    if problem:
        raise DataError(f"{_place(pair)} cannot be written: {problem}.")


def _place(pair: Pair) -> str:
    return pair.source or f"pair '{pair.id}'"


def _text(text: Text) -> Any:
    return text.rows() if isinstance(text, Conversation) else text


def _cell(candidate: Media, files: MediaFiles) -> Any:
    return _text(candidate) if isinstance(candidate, (str, Conversation)) else files.name(candidate)

"""Writing pairs as the ecosystem reads them: JSON lines in TRL's columns, which our readers give back as they were.

    {"id": "a1", "prompt": "...", "chosen": "...", "rejected": "...", "label_prob": 0.9, "chosen_judge": 1.5}

Texts stay plain or in turns. Pictures and clips are named relative to the table: those that lie in its folder as they
are; others are linked, or copied where the disk cannot link, into ``files/`` beside it, so that the folder can be moved
and shared. Single answers are TRL's ``prompt``, ``completion``, ``label``; single pictures ``file_name``, ``prompt``.
"""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffalign.data.conversation import Conversation, Text
from diffalign.data.distinct import Distinct
from diffalign.data.kept import Kept
from diffalign.data.line import USED, Line
from diffalign.data.readers.rows import MEDIA_SUFFIXES, ROLES, scores_of
from diffalign.data.readers.trl import FURTHER
from diffalign.data.records import Media, Pair
from diffalign.data.stored import Stored
from diffalign.errors import DataError, UserError
from diffalign.sharing.atomic import write_atomically

FILES = "files"
"""Folder beside a table for the pictures and clips that lie elsewhere."""

_READ = {"rejected_prompt", "augmented_prompt", *(name for names in FURTHER.values() for name in names)}
_BEGINNINGS = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"BM": ".bmp", b"\x1aE\xdf\xa3": ".webm"}
_INSIDE = {b"WEBP": (8, ".webp"), b"ftypavif": (4, ".avif"), b"ftyp": (4, ".mp4")}


def write_pairs(path: str | Path, lines: Iterable[Line]) -> int:
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
    files, ids, counted = Files(path.parent), Distinct(), {"pairs": 0, "singles": 0}

    def write(beside: Path) -> None:
        with beside.open("w", encoding="utf-8") as out:
            for line in lines:
                pair = line.pair
                counted["singles" if pair.rejected is None else "pairs"] += 1
                if all(counted.values()):
                    raise DataError(f"{_place(pair)}: single answers and pairs do not go into one file.")
                if not ids.add(pair.id):
                    raise DataError(f"{_place(pair)}: the id '{pair.id}' is there twice, and draws are keyed by it.")
                out.write(json_line(row_of(line, files)))
        if not any(counted.values()):
            raise DataError(f"no row is left to be written into '{path}'.")

    write_atomically(path, write)
    return sum(counted.values())


def row_of(line: Line, files: Files) -> dict[str, Any]:
    """A line as the columns of its row.

    Raises:
        DataError: What the columns cannot hold, or what would not be read back as it is.
    """
    pair = line.pair
    row: dict[str, Any] = {"id": pair.id, "prompt": _text(pair.prompt)}
    if pair.rejected is not None:
        row |= {role: _cell(answer.candidate, files) for role, answer in pair.answers.items() if role in ROLES}
    elif isinstance(pair.chosen, (str, Conversation)):
        row |= {"completion": _text(pair.chosen), "label": pair.desirable}
    else:
        row["file_name"] = _cell(pair.chosen, files)
    if pair.rejected_prompt is not None:
        row["rejected_prompt"] = _text(pair.rejected_prompt)
    for role, answer in pair.further.items():
        row[role] = _cell(answer.candidate, files)
        if answer.prompt is not None:
            row["augmented_prompt"] = _text(answer.prompt)
    if pair.probability != 1.0:
        row["label_prob"] = pair.probability
    if pair.group:
        row["group"] = pair.group
    used = {*row, *_READ}
    for role, values in pair.scores.items():
        row |= {name if role == "pair" else f"{role}_{name}": value for name, value in values.items()}
    _check(pair, row, used, line.columns)
    return row | {name: value for name, value in line.columns.items() if name not in row}


def json_line(row: Mapping[str, Any]) -> str:
    """A row as one line; text stays readable unless UTF-8 cannot hold it."""
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half a surrogate pair, as JSON may spell it
        text = json.dumps(row)
    return text + "\n"


def _check(pair: Pair, row: Mapping[str, Any], used: set[str], columns: Mapping[str, Any]) -> None:
    scores = {role: dict(values) for role, values in pair.scores.items() if values}
    problem = ""
    if unknown := [role for role in pair.further if role not in FURTHER]:
        problem = f"its answer '{unknown[0]}' has no column"
    elif any(a.prompt is not None and not role.startswith("augmented") for role, a in pair.further.items()):
        problem = "one of its further answers has a prompt of its own, and only augmented ones can"
    elif len({str(a.prompt) for role, a in pair.further.items() if role.startswith("augmented")}) > 1:
        problem = "its augmented answers have different prompts"
    elif pair.rejected is None and (pair.further or pair.probability != 1.0):
        problem = "a single example cannot have a probability or further answers"
    elif pair.rejected is None and "label" not in row and not pair.desirable:
        problem = "single pictures are winners; one that is to be avoided has no format"
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


def _cell(candidate: Media, files: Files) -> Any:
    return _text(candidate) if isinstance(candidate, (str, Conversation)) else files.name(candidate)


class Files:
    """Names of pictures and clips as a table in ``folder`` writes them; what lies elsewhere is put into ``files/``.

    Args:
        folder: Where the table lies.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = os.path.abspath(folder)
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()

    def name(self, media: Path | bytes | Stored | Kept) -> str:
        """The name, ``/`` between its parts. Raises DataError for a candidate that is no file and no bytes."""
        if isinstance(media, Kept):
            raise DataError(f"{media} are tensors of a run, which only its policy reads; they cannot be written.")
        if isinstance(media, (bytes, Stored)):
            data = media if isinstance(media, bytes) else media.read()
            return self._put(hashlib.blake2b(data, digest_size=12).hexdigest() + suffix_of(data), data)
        path = os.path.abspath(media)
        known = os.path.splitext(path)[1].lower() in MEDIA_SUFFIXES
        if known and path.startswith(self._folder.rstrip(os.sep) + os.sep):
            return Path(os.path.relpath(path, self._folder)).as_posix()
        if path not in self._names:
            with open(path, "rb") as file:
                suffix = os.path.splitext(path)[1] if known else suffix_of(file.read(16))
            self._names[path] = self._link(os.path.realpath(path), Path(path).stem, suffix)
        return self._names[path]

    def _put(self, name: str, data: bytes) -> str:
        place = Path(self._folder, FILES, name)
        if not place.exists():
            write_atomically(place, lambda beside: beside.write_bytes(data))
        return f"{FILES}/{name}"

    def _link(self, path: str, stem: str, suffix: str) -> str:
        number = 1
        while True:
            name = f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}"
            place = Path(self._folder, FILES, name)
            if name not in self._taken:
                if not place.exists():
                    break
                if os.path.samefile(path, place) or filecmp.cmp(path, place, shallow=False):
                    self._taken.add(name)
                    return f"{FILES}/{name}"
            number += 1
        self._taken.add(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(OSError):  # another disk, or one without links
            os.link(path, place)
        if not place.exists():
            write_atomically(place, lambda beside: shutil.copyfile(path, beside))
        return f"{FILES}/{name}"


def suffix_of(data: bytes) -> str:
    """What the first bytes of a picture or clip say that it is; ``.png`` where they say nothing."""
    for mark, suffix in _BEGINNINGS.items():
        if data.startswith(mark):
            return suffix
    for mark, (place, suffix) in _INSIDE.items():
        if data[place : place + len(mark)] == mark:
            return suffix
    return ".png"

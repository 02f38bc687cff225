"""Cells that name a clip: a video, or a clip that is kept as one picture per frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from diffalign.data.readers.rows.parse_row import Drop, existing_file
from diffalign.data.readers.tables import Table
from diffalign.data.records.pair import EMPTY_CANDIDATE, MISSING_FILE, Media
from diffalign.data.storage.frame_files import ASSUMED_FPS, FrameFiles, frames_of
from diffalign.data.storage.inside_folder import inside
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError
from diffalign.files.text_files import is_file

FRAMES = "images"
"""Folder in which published sets keep their frames."""


def folder_of(table: Table, root: str | Path | None) -> Path:
    """Returns the folder that a table's names are relative to."""
    return Path(root).expanduser() if root else table.folder


def clip_of(cell: Any, column: str, folder: Path) -> Media:
    """Returns the clip that a cell holds, as bytes or by its name in ``folder``. Drops the row without one."""
    if isinstance(cell, dict):
        cell = cell.get("bytes") or cell.get("path")
    if isinstance(cell, (bytes, TableCell)) and cell:
        return cell
    if not isinstance(cell, str) or not cell.strip():
        raise Drop(EMPTY_CANDIDATE, f"{column} is empty")
    return existing_file(folder, cell.strip())


def moved_clip(name: Any, column: str, folder: Path) -> Path:
    """Returns the file of a path that was written on another machine: the longest of its ends that lies in ``folder``.

    Drops the row where there is none.
    """
    if not isinstance(name, str) or not name.strip():
        raise Drop(EMPTY_CANDIDATE, f"{column} is empty")
    parts = [part for part in PurePosixPath(name.strip()).parts if part not in ("/", ".", "..")]
    for start in range(len(parts)):
        path = inside(folder, "/".join(parts[start:]))
        if path is not None and is_file(path):
            return path
    raise Drop(MISSING_FILE, f"'{name}' in '{folder}'; if the clips lie elsewhere, give root=FOLDER")


def frames_named(names: Any, folder: Path, fps: float = ASSUMED_FPS) -> FrameFiles:
    """Returns a clip of the files that a cell lists: as named, or under ``images/<what stands before the last _>/``.

    Drops the row where one is missing.
    """
    if not isinstance(names, Sequence) or isinstance(names, str) or not all(isinstance(n, str) and n for n in names):
        raise Drop(EMPTY_CANDIDATE, "images must be the list of a clip's frames")
    if not names:
        raise Drop(EMPTY_CANDIDATE, "images is empty")
    clip = names[0].rpartition("_")[0] or Path(names[0]).stem
    prefixes = ("", f"{FRAMES}/{clip}/", f"{FRAMES}/{clip.split('_')[0]}/", f"{FRAMES}/", f"{clip}/")
    for prefix in prefixes:
        first = inside(folder, prefix + names[0])
        if first is not None and is_file(first):
            return frames_of([existing_file(folder, prefix + name) for name in names], fps)
    raise Drop(MISSING_FILE, f"'{names[0]}' under '{folder}/{FRAMES}/{clip}'")


def beside(table: Table, name: str, format: str) -> Table:
    """Returns another table of the same folder. Raises DataError where there is none."""
    path = table.folder / name
    if not is_file(path):
        raise DataError(f"'{path}' is missing: the {format} format reads it together with '{table.path.name}'.")
    return Table(path)

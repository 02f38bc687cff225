"""Atomic writes: to a temporary file next to the target, flushed to disk, then renamed to the target."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from diffalign.files.write_errors import explain_write_errors


def write_atomically(path: Path, writer: Callable[[Path], object]) -> Path:
    """Calls ``writer(temporary)`` and renames the result to ``path``, which is always a complete file.

    Raises:
        RunError: The disk is full or the folder cannot be written. No partial file remains.
    """
    path = Path(path) if Path(path).name else Path(path).resolve()  # "." has no name
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{path.suffix}")
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer(temporary)
            _flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _flush(path.parent)
    return path


def replace_folder(path: Path, writer: Callable[[Path], object]) -> Path:
    """Calls ``writer(folder)`` with a new folder next to ``path`` and replaces ``path`` by it.

    Files in ``path`` that the new folder does not have are kept: they may be the user's. For a moment after the old
    folder is renamed and before the new one is, neither has the name ``path``; the old one then has a name that ends in
    ``.old``.
    """
    path = Path(path)
    token = uuid.uuid4().hex[:8]
    temporary, old = path.with_name(f".{path.name}.{token}"), path.with_name(f".{path.name}.{token}.old")
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            writer(temporary)
            for file in temporary.rglob("*"):
                _flush(file)
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
            if old.exists():
                _move_what_is_missing(old, path)
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        _flush(path.parent)
    return path


def _move_what_is_missing(source: Path, target: Path) -> None:
    """Moves every file and folder of ``source`` that ``target`` does not have."""
    for item in source.iterdir():
        twin = target / item.name
        if not os.path.lexists(twin):
            os.replace(item, twin)
        elif item.is_dir() and not item.is_symlink() and twin.is_dir():
            _move_what_is_missing(item, twin)


def _flush(path: Path) -> None:
    """Waits until a file or folder is on disk. Windows cannot flush folders."""
    if path.is_dir() and os.name == "nt":
        return
    with suppress(PermissionError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

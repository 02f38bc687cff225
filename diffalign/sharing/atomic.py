"""Atomic writes: to a temporary file next to the target, flushed to disk, then renamed to the target."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffalign.errors import RunError


def write_atomically(path: Path, writer: Callable[[Path], object]) -> Path:
    """Calls ``writer(temporary)`` and renames the result to ``path``, which is always a complete file.

    Raises:
        RunError: The disk is full or the folder cannot be written. No partial file remains.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{path.suffix}")
    with _explain_errors(path):
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

    For a moment after the old folder is renamed and before the new one is, neither has the name ``path``; the old one
    then has a name that ends in ``.old``.
    """
    path = Path(path)
    token = uuid.uuid4().hex[:8]
    temporary, old = path.with_name(f".{path.name}.{token}"), path.with_name(f".{path.name}.{token}.old")
    with _explain_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            writer(temporary)
            for file in temporary.rglob("*"):
                _flush(file)
            if path.exists():
                os.replace(path, old)
            os.replace(temporary, path)
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        _flush(path.parent)
    return path


@contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    """Raises RunError in place of the errors that the system or safetensors raises for a full disk or no permission."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        text = str(error)
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "os error 28" in text:
            raise RunError(
                f"{path} could not be written: the disk is full. Free some space or give another folder; an earlier"
                " file of this name is unchanged."
            ) from error
        if isinstance(error, OSError) and number in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise RunError(f"{path} could not be written ({text}). Give a folder that you may write to.") from error
        raise


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

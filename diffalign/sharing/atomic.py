"""Writing that a kill or a full disk cannot halve: beside the target, flushed to disk, then renamed onto it."""

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
    """Calls ``writer(beside)`` and renames the result onto ``path``: the file is the old one or the new one, whole.

    Raises:
        RunError: when the disk is full or the folder cannot be written; nothing half-written stays behind.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{path.suffix}")
    with _mended(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            writer(beside)
            _flush(beside)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        _flush(path.parent)
    return path


def replace_folder(path: Path, writer: Callable[[Path], object]) -> Path:
    """Calls ``writer(folder)`` with a fresh folder beside ``path`` and puts it in the place of ``path``.

    Between taking the old folder away and renaming the new one there is a moment with neither; the old one is then
    found beside it under a name that ends in ``.old``.
    """
    path = Path(path)
    token = uuid.uuid4().hex[:8]
    beside, old = path.with_name(f".{path.name}.{token}"), path.with_name(f".{path.name}.{token}.old")
    with _mended(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.mkdir()
        try:
            writer(beside)
            for file in beside.rglob("*"):
                _flush(file)
            if path.exists():
                os.replace(path, old)
            os.replace(beside, path)
        finally:
            if old.exists() and not path.exists():
                os.replace(old, path)
            shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        _flush(path.parent)
    return path


@contextmanager
def _mended(path: Path) -> Iterator[None]:
    """Turns what the operating system or safetensors says of a full disk into a sentence for users."""
    try:
        yield
    except Exception as error:
        number = getattr(error, "errno", None)
        text = str(error)
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in text or "os error 28" in text:
            raise RunError(
                f"{path} could not be written: the disk is full. Free some space or give another folder; the file that"
                " was there before is untouched."
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

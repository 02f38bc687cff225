"""Sentences for errors of the system while files are written: a full disk, no permission, something in the way."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffalign.errors import RunError

FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EROFS, errno.EPERM)
IN_THE_WAY = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
_OS_ERROR = re.compile(r"os error (\d+)")


@contextmanager
def explain_write_errors(path: Path, kept: str = "an earlier file of this name is unchanged") -> Iterator[None]:
    """Raises RunError in place of the errors that the system or safetensors raises while ``path`` is written.

    Args:
        path: The file or folder.
        kept: What is still there, for the message.
    """
    try:
        yield
    except Exception as error:
        if (sentence := write_error(path, error, kept)) is None:
            raise
        raise RunError(sentence) from error


def write_error(path: Path, error: Exception, kept: str) -> str | None:
    """Returns the message for an error of writing, or None where it is of another kind."""
    number, text = error_number(error), str(error)
    if number in FULL or "No space left" in text:
        return f"{path} could not be written: the disk is full. Free some space or give another folder; {kept}."
    if number in FORBIDDEN:
        return f"{path} could not be written ({text}). Give a folder that you may write to; {kept}."
    if number in IN_THE_WAY:
        return (
            f"{path} could not be written ({text}): a file or folder of that name is in the way. Give another output."
        )
    if number == errno.ENOENT and isinstance(error, OSError) and _is_above(error.filename, path):
        return f"{path} could not be written ({text}): a folder above it cannot be made. Give another output; {kept}."
    if number == errno.ENOENT and isinstance(error, OSError) and _is_beside(error.filename, path):
        return f"{path} could not be written: no file can be made in {path.parent}. Give another output; {kept}."
    if number == errno.EIO:
        return f"{path} could not be written ({text}): the disk reports an error. Give another disk; {kept}."
    return None


def _is_above(named: object, path: Path) -> bool:
    """Returns whether an error names a path or a folder above it: a missing file that is only read is another error."""
    return isinstance(named, (str, os.PathLike)) and Path(named) in (path, *path.parents)


def _is_beside(named: object, path: Path) -> bool:
    """Returns whether an error names the temporary file of a path, whose folder then admits no files."""
    if not isinstance(named, (str, os.PathLike)):
        return False
    return Path(named).parent == path.parent and Path(named).name.startswith(f".{path.name}.")


def error_number(error: Exception) -> int | None:
    """Returns the number of a system's error; safetensors states it only in its text."""
    if isinstance(error, OSError):
        return error.errno
    found = _OS_ERROR.search(str(error))
    return int(found[1]) if found else None

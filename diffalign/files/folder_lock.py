"""One lock per output folder or table, so that two commands that run at once do not write each other's files.

The lock is the system's (``flock``): it ends with its process, also with a killed one, so none is ever left behind.
The file states who holds it. Where the system has no such locks (Windows) nothing is locked.
"""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from diffalign.errors import RunError
from diffalign.files.write_errors import explain_write_errors

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
LONGEST = 1000
"""Characters that are read of a lock's file, whoever wrote it."""


class FolderLock:
    """The right to write into a folder, for one process at a time.

        with FolderLock(output) as lock:
            ...                         # checks that write nothing
            lock.acquire()              # the first of several processes only

    Args:
        folder: The folder; :meth:`acquire` makes it where it does not exist, and an empty one goes with the lock.
        name: The name of a file in it, where only that file is locked.
    """

    def __init__(self, folder: str | Path, name: str = "") -> None:
        self.folder = Path(folder)
        self._place = self.folder / name
        self._file = self.folder / (f".{name}.lock" if name else NAME)
        self._made = False
        self._handle: int | None = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()

    def acquire(self) -> None:
        """Takes the lock. Raises RunError, with host and process of the one that holds it."""
        if fcntl is None or self._handle is not None:
            return
        with explain_write_errors(self.folder, "nothing was written"):
            self._made = not self.folder.exists()
            self.folder.mkdir(parents=True, exist_ok=True)
            while (handle := self._locked()) is None:  # the holder removed the file between opening and locking it
                pass
        self._handle = handle
        if (elsewhere := _holder(self._file)) and elsewhere[0] != socket.gethostname():
            self._handle = None
            os.close(handle)
            raise RunError(
                f"'{self._place}' is in use by process {elsewhere[1]} on {elsewhere[0]}, which this host cannot ask. "
                f"Wait until it ends, choose another folder, or, if it has ended, remove {self._file}"
            )
        os.truncate(handle, 0)
        os.pwrite(handle, json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode(), 0)

    def release(self) -> None:
        """Gives the lock back, if this one has it, and removes its file."""
        if self._handle is None:
            return
        with suppress(OSError):  # first the file: another process then locks a file of its own
            self._file.unlink()
        os.close(self._handle)
        self._handle = None
        if self._made:
            with suppress(OSError):  # something was written
                self.folder.rmdir()

    def _locked(self) -> int | None:
        """Returns the locked file's handle; None where it is no longer the file of that name."""
        try:
            handle = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:  # a folder of the system's own, which admits no files
            raise RunError(
                f"{self._place} could not be written: no file can be made in {self.folder}. Give another output; "
                "nothing was written."
            ) from error
        if _is_held_elsewhere(handle):
            os.close(handle)
            raise RunError(_in_use(self._place, self._file))
        if _is_at(handle, self._file):
            return handle
        os.close(handle)
        return None


def in_use(folder: Path) -> str:
    """Returns the sentence for a folder whose lock another process holds."""
    return _in_use(folder, folder / NAME)


def is_locked(folder: Path) -> bool:
    """Returns whether another process holds the lock of a folder now. Writes nothing."""
    if fcntl is None:
        return False
    try:
        handle = os.open(folder / NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_held_elsewhere(handle)
    finally:
        os.close(handle)


def _is_held_elsewhere(handle: int) -> bool:
    """Locks an open file. Returns whether another process has locked it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return False


def _in_use(place: Path, file: Path) -> str:
    host, process = _holder(file) or ("this host", "?")
    return (
        f"'{place}' is in use by process {process} on {host}, which writes into it now. Wait until it ends, or choose "
        "another output"
    )


def _holder(file: Path) -> tuple[str, int] | None:
    """Returns host and process that a lock's file states."""
    try:
        with file.open(encoding="utf-8") as opened:
            stated = json.loads(opened.read(LONGEST))
        return (str(stated["host"]), int(stated["process"])) if str(stated["host"]).isprintable() else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_at(handle: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False

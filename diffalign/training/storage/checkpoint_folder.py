"""Folders of checkpoints: which are complete, of which run they are, and how one is removed without foreign files."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffalign.errors import ConfigError
from diffalign.files.model_files import read_object

NAME = re.compile(r"step-(\d{8,18})")
TEMPORARY = re.compile(r"\.step-\d{8,18}\.[0-9a-f]+")
"""Folders that are being written; in earlier versions their names end in the number of the process."""
FILES = ("policy.safetensors", "optimizer.safetensors", "ema.safetensors")
STATE = "state.json"
VERSION = 1


def checkpoint_name(step: int) -> str:
    """Returns the name of the folder of a step's checkpoint."""
    return f"step-{step:08d}"


def step_of(path: Path) -> int | None:
    """Returns the step that a folder's name states; None for another name."""
    found = NAME.fullmatch(path.name)
    return int(found[1]) if found else None


def complete_checkpoints(folder: Path, run: str = "") -> list[Path]:
    """Returns the complete checkpoints below a folder, oldest first.

    Args:
        folder: The folder of checkpoints.
        run: Only those of this run, and those of earlier versions, which state none; "": all of them.
    """
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if step_of(path) is not None]
    return sorted((path for path in paths if _is_complete(path, run)), key=lambda path: step_of(path) or 0)


def read_state(path: Path) -> dict[str, Any] | None:
    """Returns the ``state.json`` of a complete checkpoint; None where one is missing, damaged or of other files."""
    state = _parse_state(path)
    try:
        files = dict(state["files"])
        fits = all(name in FILES and (path / name).stat().st_size == size for name, size in files.items())
        intact = "sum" not in state or state["sum"] == state_sum(state)  # checkpoints of earlier versions have none
        whole = intact and isinstance(state["facts"], dict) and state["step"] == step_of(path) and FILES[0] in files
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if fits and whole and state.get("version") == VERSION else None


def state_sum(state: Mapping[str, Any]) -> int:
    """Returns the checksum of a state, of everything but the checksum itself."""
    text = json.dumps({key: value for key, value in state.items() if key != "sum"}, sort_keys=True)
    return zlib.crc32(text.encode())


def belongs_to(path: Path, run: str) -> bool:
    """Returns whether a folder is a checkpoint of this run; damaged ones and those of earlier versions state none."""
    return (path / STATE).is_file() and _is_of(_parse_state(path), run)


def is_extra(path: Path) -> bool:
    """Returns whether a checkpoint was written because the run was stopped; no recipe asked for it."""
    return bool(_parse_state(path).get("extra"))


def remove_checkpoint(path: Path) -> None:
    """Removes the files that a checkpoint consists of, and its folder where nothing else is in it."""
    if not path.is_dir() or path.is_symlink():
        return
    for name in (*FILES, STATE):  # the list comes last: until then the folder counts as an incomplete checkpoint
        with suppress(OSError):
            (path / name).unlink()
    with suppress(OSError):  # it holds files that no run wrote
        path.rmdir()


def _parse_state(path: Path) -> dict[str, Any]:
    try:
        return read_object(path / STATE)
    except ConfigError:
        return {}


def _is_complete(path: Path, run: str) -> bool:
    state = read_state(path)
    return state is not None and _is_of(state, run)


def _is_of(state: Mapping[str, Any], run: str) -> bool:
    return not run or state.get("run", "") in ("", run)

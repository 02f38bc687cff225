"""Checkpoints on disk: safetensors and JSON, written under a temporary name and renamed.

A checkpoint is a folder ``step-00000123`` with one safetensors file per group of tensors and a ``state.json`` that
lists them with their sizes. It gets its name only when everything is on the disk; a folder whose list does not match
its files is incomplete and counts as absent. Nothing is pickled, so opening one runs no code.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffalign.errors import RunError

NAME = re.compile(r"step-(\d{8})")
VERSION = 1


@dataclass(frozen=True)
class Snapshot:
    """A run between two optimizer steps.

    Args:
        step: Number of optimizer steps done.
        tensors: Groups of tensors by name: ``"policy"``, ``"optimizer"``, ``"ema"``.
        facts: Everything else, as JSON values.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]


def write_checkpoint(folder: Path, snapshot: Snapshot, keep: int) -> Path:
    """Writes a snapshot below ``folder``, then removes all but the ``keep`` newest. Safe to be killed at any moment."""
    target = folder / f"step-{snapshot.step:08d}"
    fresh = folder / f".{target.name}.{os.getpid()}"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    sizes = {}
    for name, tensors in snapshot.tensors.items():
        path = fresh / f"{name}.safetensors"
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, path)
        _to_disk(path)
        sizes[path.name] = path.stat().st_size
    state = {"version": VERSION, "step": snapshot.step, "files": sizes, "facts": snapshot.facts}
    (fresh / "state.json").write_text(json.dumps(state), encoding="utf-8")
    _to_disk(fresh / "state.json")
    if target.exists():
        shutil.rmtree(target)
    os.replace(fresh, target)
    _to_disk(folder)
    _tidy(folder, keep)
    return target


def read_checkpoint(path: Path) -> Snapshot:
    """Reads a checkpoint. Raises RunError when it is incomplete."""
    state = _state(path)
    if state is None:
        raise RunError(
            f"{path} is not a complete checkpoint. Resume without naming it: the last complete one is taken."
        )
    try:
        tensors = {Path(name).stem: load_file(path / name) for name in state["files"]}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}. Delete the folder and resume from the one before.") from None
    return Snapshot(state["step"], tensors, state["facts"])


def complete_checkpoints(folder: Path) -> list[Path]:
    """Returns the complete checkpoints below a folder, oldest first."""
    if not folder.is_dir():
        return []
    paths = [path for path in folder.iterdir() if NAME.fullmatch(path.name) and _state(path) is not None]
    return sorted(paths)


def _state(path: Path) -> dict[str, Any] | None:
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        fits = all((path / name).stat().st_size == size for name, size in state["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return None
    return state if fits and state.get("version") == VERSION else None


def _tidy(folder: Path, keep: int) -> None:
    good = complete_checkpoints(folder)
    kept = set(good[-keep:])
    for path in folder.iterdir():
        # Unfinished folders are leftovers of a killed process: only one process writes, and it is this one.
        old = NAME.fullmatch(path.name) is not None and path not in kept
        if old or path.name.startswith(".step-"):
            shutil.rmtree(path, ignore_errors=True)


def _to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_disk(folder: Path, needed: int) -> None:
    """Raises RunError when ``needed`` bytes do not fit on the disk of ``folder``."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < needed:
        raise RunError(
            f"checkpoints and the result need about {needed / 1e9:.2f} GB, but {place} has {free / 1e9:.2f} GB free. "
            "Free some space, keep fewer (--set checkpoint.keep=1), or choose another disk (--set output=FOLDER)."
        )

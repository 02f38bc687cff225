"""Checkpoints on disk: safetensors and JSON, written under a temporary name and renamed.

A checkpoint is a folder ``step-00000123`` with one safetensors file per group of tensors and a ``state.json`` that
lists them with their sizes and checksums. It gets its name only when everything is on the disk; a folder whose list
does not match its files is incomplete and counts as absent. Nothing is pickled, so opening one runs no code.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffalign.devices.out_of_memory import is_out_of_memory
from diffalign.errors import RunError
from diffalign.files.write_errors import explain_write_errors
from diffalign.training.storage.checkpoint_folder import (
    STATE,
    TEMPORARY,
    VERSION,
    belongs_to,
    checkpoint_name,
    complete_checkpoints,
    is_extra,
    read_state,
    remove_checkpoint,
    state_sum,
    step_of,
)


@dataclass(frozen=True)
class Snapshot:
    """A run between two optimizer steps.

    Args:
        step: Number of optimizer steps done.
        tensors: Groups of tensors by name: ``"policy"``, ``"optimizer"``, ``"ema"``.
        facts: Everything else, as JSON values.
        run: The id of the run; "" in checkpoints of earlier versions.
        extra: Whether it was written because the run was stopped: no recipe asked for it, so a rollback passes it over.
    """

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    facts: Mapping[str, Any]
    run: str = ""
    extra: bool = False


def write_checkpoint(folder: Path, snapshot: Snapshot, keep: int) -> Path:
    """Writes a snapshot below ``folder``, then removes all but the ``keep`` newest. Safe to be killed at any moment.

    Raises:
        RunError: The disk is full or the folder cannot be written. Earlier checkpoints are unchanged.
    """
    target = folder / checkpoint_name(snapshot.step)
    fresh = folder / f".{target.name}.{uuid.uuid4().hex[:8]}"
    with explain_write_errors(target, _kept(folder)):
        fresh.mkdir(parents=True)
        try:
            _write_files(fresh, snapshot)
            remove_checkpoint(target)
            if target.exists():  # it holds files that no run wrote
                os.replace(target, target.with_name(f"{target.name}-other-{uuid.uuid4().hex[:8]}"))
            os.replace(fresh, target)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        _to_disk(folder)
    _tidy(folder, snapshot, keep)
    return target


def read_checkpoint(path: Path) -> Snapshot:
    """Reads a checkpoint. Raises RunError when it is incomplete or damaged."""
    state = read_state(path)
    if state is None:
        raise RunError(
            f"{path} is not a complete checkpoint. Resume without naming it: the last complete one is taken."
        )
    try:
        _verify(path, state)
        tensors = {Path(name).stem: load_file(path / name) for name in state["files"]}
    except (SafetensorError, OSError, ValueError, AttributeError) as error:
        raise RunError(
            f"{path} is damaged: {error}. Move the folder away and resume: the run goes on from the one before."
        ) from None
    return Snapshot(state["step"], tensors, state["facts"], state.get("run", ""), bool(state.get("extra")))


def set_damaged_aside(checkpoints: Sequence[Path]) -> list[Path]:
    """Renames the newest checkpoints up to the first one whose files are those that were written, so that it counts as
    the last one.

    Args:
        checkpoints: Complete checkpoints, oldest first.

    Returns:
        The folders of the renamed ones under their new names, which no listing takes for a checkpoint.
    """
    aside = []
    for path in reversed(checkpoints):
        try:
            _verify(path, read_state(path) or {})
        except (SafetensorError, OSError, ValueError, AttributeError):
            with explain_write_errors(path, "the checkpoint is damaged"):
                aside.append(path.rename(path.with_name(f"{path.name}-damaged-{uuid.uuid4().hex[:8]}")))
        else:
            break
    return aside


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Raises RunError in place of what a state raises that is complete and yet is not that of this run."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        if is_out_of_memory(error):
            raise
        shown = ascii(f"{type(error).__name__}: {error}")[1:-1][:200]
        raise RunError(
            f"{path} does not hold the state of this run ({shown}). Move the folder away and resume: the run goes on "
            "from the one before."
        ) from error


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


def _write_files(folder: Path, snapshot: Snapshot) -> None:
    sizes, checksums = {}, {}
    for name, tensors in snapshot.tensors.items():
        path = folder / f"{name}.safetensors"
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}, path)
        _to_disk(path)
        sizes[path.name], checksums[path.name] = path.stat().st_size, _checksum(path)
    state: dict[str, Any] = {"version": VERSION, "step": snapshot.step, "run": snapshot.run, "extra": snapshot.extra}
    state |= {"files": sizes, "checksums": checksums, "facts": json.loads(json.dumps(snapshot.facts))}
    state["sum"] = state_sum(state)
    (folder / STATE).write_text(json.dumps(state), encoding="utf-8")
    _to_disk(folder / STATE)


def _tidy(folder: Path, newest: Snapshot, keep: int) -> None:
    """Removes older checkpoints of this run. One that a stop wrote is kept only while it is the newest."""
    good = complete_checkpoints(folder, newest.run)
    kept = {path for path in good if step_of(path) == newest.step}
    kept |= set([path for path in good if not is_extra(path)][-keep:])
    for path in folder.iterdir():
        # Unfinished folders are leftovers of a killed process: only one process writes, and it is this one.
        unfinished = TEMPORARY.fullmatch(path.name) is not None
        old = step_of(path) is not None and path not in kept and belongs_to(path, newest.run)
        if old or unfinished:
            remove_checkpoint(path)


def _kept(folder: Path) -> str:
    good = complete_checkpoints(folder)
    last = f"the checkpoint of step {step_of(good[-1])} is intact" if good else "there is no earlier checkpoint"
    return f"{last}, and the run goes on from there with --resume"


def _verify(path: Path, state: Mapping[str, Any]) -> None:
    """Raises SafetensorError where a file is not the one whose checksum a state has; earlier versions stated none."""
    for name, expected in state.get("checksums", {}).items():
        if _checksum(path / name) != expected:
            raise SafetensorError(f"the checksum of {name} differs")


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            total = zlib.crc32(block, total)
    return total


def _to_disk(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

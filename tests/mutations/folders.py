"""Mutations of a folder: a file missing, empty, cut off, exchanged, a folder in its place, one that cannot be found."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.mutations.file_bytes import mutated_bytes


def mutated_folders(folder: Path, into: Path, count: int, seed: int) -> Iterator[tuple[str, Path]]:
    """Yields ``count`` copies of a folder with one fault each, and what was changed.

    A copy is removed when the next one is due, so use it at once.

    Args:
        folder: A good one, small: it is copied ``count`` times.
        into: An empty folder for the copies.
        count: Number of copies.
        seed: Of the choices.
    """
    draw = random.Random(seed)
    kinds = list(FAULTS.items())
    for number in range(count):
        copied = into / f"{number}"
        shutil.copytree(folder, copied)
        files = sorted(path for path in copied.rglob("*") if path.is_file())
        name, change = kinds[number % len(kinds)]
        path = draw.choice(files)
        shown = path.relative_to(copied)
        change(path, files, draw)
        yield f"{shown}: {name} ({number})", copied
        shutil.rmtree(copied, ignore_errors=True) if copied.is_dir() else copied.unlink(missing_ok=True)


def _swap(path: Path, files: list[Path], draw: random.Random) -> None:
    other = draw.choice(files)
    here, there = path.read_bytes(), other.read_bytes()
    path.write_bytes(there)
    other.write_bytes(here)


def _change_bytes(path: Path, files: list[Path], draw: random.Random) -> None:
    *_, (_, content) = mutated_bytes(path.read_bytes(), draw.randrange(1, 15), draw.randrange(2**32))
    path.write_bytes(content)


def _folder_instead(path: Path, files: list[Path], draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _file_instead(path: Path, files: list[Path], draw: random.Random) -> None:
    folder = path.parent
    shutil.rmtree(folder)
    folder.write_bytes(b"")


def _dead_link(path: Path, files: list[Path], draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.parent / "missing")


def _loop(path: Path, files: list[Path], draw: random.Random) -> None:
    path.unlink()
    path.symlink_to(path)


FAULTS: dict[str, Callable[[Path, list[Path], random.Random], None]] = {
    "missing": lambda path, files, draw: path.unlink(),
    "empty": lambda path, files, draw: path.write_bytes(b""),
    "cut off": lambda path, files, draw: path.write_bytes(path.read_bytes()[: draw.randrange(1, 200)]),
    "changed bytes": _change_bytes,
    "other bytes changed": _change_bytes,
    "exchanged with another file": _swap,
    "a folder in its place": _folder_instead,
    "a file in place of its folder": _file_instead,
    "a link to nothing": _dead_link,
    "a link to itself": _loop,
}
"""Kinds by name: the file, all files of the copy and a generator in."""

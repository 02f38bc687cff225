"""A pool of a policy's earlier checkpoints on disk, and the choice of one of them as the reference.

Entry n is the state at the beginning of round n; entry 0 is the initial model. Each entry is one file. It is written
once and appears when it is complete; it is read when it is chosen, so at most one is in memory.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from diffalign.errors import RunError
from diffalign.files.atomic import write_atomically
from diffalign.named_choice import bind_name
from diffalign.randomness import stream

FILE_NAME = re.compile(r"checkpoint-(\d{6})\.safetensors")
LEFTOVER = re.compile(r"\.checkpoint-\d{6}\.safetensors\.[0-9a-f]{8}\.safetensors")
SPARE_BYTES = 2**20


class CheckpointPool:
    """Numbered states in a folder. One process writes; any process reads.

    Args:
        folder: Created with the first entry.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def indices(self) -> list[int]:
        """Returns the numbers of the entries, ascending."""
        if not self.folder.is_dir():
            return []
        matches = (FILE_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def add(self, index: int, tensors: Mapping[str, Tensor]) -> None:
        """Writes an entry to disk. Adding the same tensors again does nothing.

        Raises:
            RunError: The entry exists with other tensors, or the disk is too small.
        """
        from safetensors.torch import save_file

        path, tensors_digest = self._path(index), digest(tensors)
        if path.exists():
            if self.digest(index) != tensors_digest:
                raise RunError(
                    f"{path} holds other weights than this run has at round {index}: the folder belongs to another "
                    "run. Give this run another folder: --set output=FOLDER"
                )
            return
        self._check_disk(sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) + SPARE_BYTES)
        for leftover in self.folder.glob(".checkpoint-*"):
            if LEFTOVER.fullmatch(leftover.name):  # of an interrupted writer
                leftover.unlink(missing_ok=True)
        contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        metadata = {"digest": tensors_digest}
        write_atomically(path, lambda temporary: save_file(contiguous, temporary, metadata=metadata))

    def load(self, index: int) -> dict[str, Tensor]:
        """Returns the tensors of an entry, bit for bit. Raises RunError if it is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path, expected_digest = self._path(index), self.digest(index)
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        if digest(tensors) != expected_digest:
            raise _damaged(path, "its checksum differs")
        return tensors

    def digest(self, index: int) -> str:
        """Returns the :func:`digest` of an entry's tensors, from the file's header. Raises RunError as :meth:`load`."""
        from safetensors import SafetensorError, safe_open

        path = self._path(index)
        if not path.exists():
            raise RunError(
                f"{path} is missing: it is the policy at the beginning of round {index}, which is needed as the "
                f"reference. There are: {', '.join(map(str, self.indices())) or 'none'}. {_ADVICE}"
            )
        try:
            with safe_open(str(path), framework="pt") as file:  # type: ignore[no-untyped-call]
                return str(file.metadata()["digest"])
        except (SafetensorError, OSError, TypeError, KeyError) as error:
            raise _damaged(path, str(error)) from error

    def keep_only(self, indices: Collection[int]) -> None:
        """Removes all entries but these."""
        for index in self.indices():
            if index not in indices:
                self._path(index).unlink(missing_ok=True)

    def bytes(self) -> int:
        """Returns the size of all entries on disk."""
        return sum(self._path(index).stat().st_size for index in self.indices())

    def _path(self, index: int) -> Path:
        return self.folder / f"checkpoint-{index:06d}.safetensors"

    def _check_disk(self, needed: int) -> None:
        folder = self.folder
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise RunError(
                f"the next earlier checkpoint needs {needed / 1e9:.2f} GB, but the disk of {self.folder} has "
                f"{free / 1e9:.2f} GB free. Free some space and resume with --resume; longer rounds "
                "(--set pairs.every=60), or an adapter instead of full fine-tuning, need less."
            )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Returns 32 hexadecimal digits of names, types, shapes and every bit of the values, in any order."""
    state = hashlib.blake2b(digest_size=16)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{len(name)}:{name}:{tensor.dtype}:{tuple(tensor.shape)}:".encode())
        state.update(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
    return state.hexdigest()


SELECTIONS: dict[str, Callable[[int, int], int]] = {
    "uniform": lambda number, seed: int(stream(seed, "pool", number, "select").integers(0, number + 1)),
    "initial": lambda number, seed: 0,
    "latest": lambda number, seed: number,
}
"""``(round, run seed) -> entry``; the first is the default, and was the best of the three in the paper's comparison."""


def select(strategy: str, number: int, seed: int) -> int:
    """Returns the entry, of 0..``number``, that is the reference in round ``number``. A resume draws the same one.

    Raises:
        ValueError: There is no such strategy.
    """
    return SELECTIONS[bind_name("selection of a checkpoint", strategy, SELECTIONS)](number, seed)


_ADVICE = "Restore the file, or start the run again in another folder: --set output=FOLDER"


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path} is damaged ({why}): an earlier state of the policy cannot be read. {_ADVICE}")

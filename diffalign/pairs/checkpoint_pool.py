"""The pool: a policy's earlier states on disk, one file each, and the choice of one of them as the reference.

Entry n is the state at the beginning of round n; entry 0 is the initial model. An entry is written once, under a name
that appears when the file is whole, and read when it is chosen: at most one is in memory.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from diffalign.errors import RunError
from diffalign.named_choice import bind_name
from diffalign.randomness import stream
from diffalign.sharing.atomic import write_atomically

NAME = re.compile(r"checkpoint-(\d{6})\.safetensors")
SPARE = 2**20


class CheckpointPool:
    """States by number, in a folder. One process writes; any may read.

    Args:
        folder: Made when the first entry is added.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def indices(self) -> list[int]:
        """The numbers that are there, ascending."""
        if not self.folder.is_dir():
            return []
        found = (NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def add(self, index: int, tensors: Mapping[str, Tensor]) -> None:
        """Writes an entry; when this returns it is on the disk. Adding the same tensors again does nothing.

        Raises:
            RunError: The entry is there with other tensors, or the disk is too small.
        """
        from safetensors.torch import save_file

        path, name = self._path(index), digest(tensors)
        if path.exists():
            if self.digest(index) != name:
                raise RunError(
                    f"{path} holds other weights than this run has at round {index}: the folder belongs to another "
                    "run. Give this run a folder of its own: --set output=FOLDER"
                )
            return
        self._check_disk(sum(tensor.numel() * tensor.element_size() for tensor in tensors.values()) + SPARE)
        for left in self.folder.glob(".checkpoint-*"):  # a killed writer's
            left.unlink(missing_ok=True)
        flat = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
        write_atomically(path, lambda beside: save_file(flat, beside, metadata={"digest": name}))

    def load(self, index: int) -> dict[str, Tensor]:
        """The tensors of an entry, bit for bit as they were added. Raises RunError when it is missing or damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path, wanted = self._path(index), self.digest(index)
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        if digest(tensors) != wanted:
            raise _damaged(path, "its checksum differs")
        return tensors

    def digest(self, index: int) -> str:
        """What :func:`digest` was of an entry's tensors, from the file's header. Raises RunError like :meth:`load`."""
        from safetensors import SafetensorError, safe_open

        path = self._path(index)
        if not path.exists():
            raise RunError(
                f"{path} is missing: it is the policy at the beginning of round {index}, which is needed as the "
                f"reference. There are: {', '.join(map(str, self.indices())) or 'none'}. {_MEND}"
            )
        try:
            with safe_open(str(path), framework="pt") as file:  # type: ignore[no-untyped-call]
                return str(file.metadata()["digest"])
        except (SafetensorError, OSError, TypeError, KeyError) as error:
            raise _damaged(path, str(error)) from error

    def bytes(self) -> int:
        """What all entries occupy on the disk."""
        return sum(self._path(index).stat().st_size for index in self.indices())

    def _path(self, index: int) -> Path:
        return self.folder / f"checkpoint-{index:06d}.safetensors"

    def _check_disk(self, needed: int) -> None:
        place = self.folder
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if free < needed:
            raise RunError(
                f"the next earlier checkpoint needs {needed / 1e9:.2f} GB, but the disk of {self.folder} has "
                f"{free / 1e9:.2f} GB free. Free some space and go on with --resume; rounds that are longer "
                "(--set pairs.every=60), or an adapter instead of full fine-tuning, need less."
            )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits of names, types, shapes and every bit of the values; the order does not matter."""
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
"""``(round, run seed) -> entry``; the first is the default, and the best of the three in the paper's comparison."""


def select(strategy: str, number: int, seed: int) -> int:
    """The entry, of 0..``number``, that is the reference in round ``number``. A resume draws the same one.

    Raises:
        ValueError: There is no such strategy.
    """
    return SELECTIONS[bind_name("selection of a checkpoint", strategy, SELECTIONS)](number, seed)


_MEND = "Put the file back, or start the run anew in another folder: --set output=FOLDER"


def _damaged(path: Path, why: str) -> RunError:
    return RunError(f"{path} is damaged ({why}): an earlier state of the policy cannot be read. {_MEND}")

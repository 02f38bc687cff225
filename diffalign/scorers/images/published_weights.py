"""Weights of published scorers: the file that an argument means, and the tensors in it.

A folder or file of the user's is read as it is, without a network. Without an argument the published file is fetched
from the hub when it is first used, and stays in the hub's cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from diffalign.errors import UserError
from diffalign.files.complete_weights import first_words, tensor_faults


def find_weights(argument: str, hub_id: str, file_name: str, *, scorer: str) -> Path:
    """Returns the file of weights.

    Args:
        argument: A file, a folder that holds ``file_name`` (or the same as safetensors), another hub id, or nothing for
            ``hub_id``.
        hub_id: Where the file was published.
        file_name: Its name there.
        scorer: The scorer's name, for messages.

    Raises:
        UserError: There is no such file, or it cannot be fetched.
    """
    path = Path(argument).expanduser()
    names = (file_name, str(Path(file_name).with_suffix(".safetensors")))
    if argument and path.is_file():
        return path
    if argument and path.is_dir():
        for name in names:
            if (path / name).is_file():
                return path / name
        raise UserError(f"'{argument}' holds no {names[0]}. Copy it there, or name the file: {scorer}:FILE")
    if argument and (path.is_absolute() or argument.count("/") != 1):
        raise UserError(f"There is no '{argument}'. Give the file or folder of {file_name}, or omit it for {hub_id}.")
    return fetch(argument or hub_id, file_name, scorer=scorer)


def fetch(hub_id: str, file_name: str, *, scorer: str) -> Path:
    """Returns a file of the hub, from its cache where it is there. Raises UserError where it cannot be fetched."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub_id, file_name))
    except Exception as error:  # the hub's client raises errors of several libraries
        raise UserError(
            f"Cannot fetch {file_name} of {hub_id} for {scorer} ({first_words(error)}). Copy the file here and write "
            f"{scorer}:FILE"
        ) from error


def load_state(model: nn.Module, state: Mapping[str, Tensor], what: str, *, unused: Iterable[str] = ()) -> None:
    """Loads tensors into a model, which must use each of them and lack none.

    Args:
        model: It takes the tensors.
        state: Tensors by name, in the model's own names.
        what: The file, for messages.
        unused: Beginnings of names that the published file holds beside the model.

    Raises:
        UserError: Tensors are missing, left over, or of another shape.
    """
    own, skipped = model.state_dict(), tuple(unused)
    read = {key: value for key, value in state.items() if key in own or not key.startswith(skipped)}
    faults = tensor_faults({key: value.shape for key, value in own.items()}, read)
    counts = [f"{len(names)} {fault} (first {names[0]})" for fault, names in faults.items()]
    if counts:
        raise UserError(
            f"{what} does not hold a complete {type(model).__name__}: of its {len(own)} tensors {', '.join(counts)}. "
            "Download the published file again, or give one of this kind."
        )
    model.load_state_dict(read)

"""Reads the weights of a judge, whichever of the published layouts they have, as tensors of a stock network and a head.

    published key                              key of the network
    visual.X, model.visual.X                   visual.X            Qwen2-VL before and after transformers 4.52
    model.X, model.language_model.X            language_model.X
    base_model.model.K                         K                   saved inside peft
    K.base_layer.weight, K.lora_A, K.lora_B    K.weight            W + scale B A
    rm_head.X, score.X                         X of the head
    lm_head.X                                  not read

Files are safetensors, or PyTorch's own, which are read with ``weights_only`` and can execute nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from diffalign.errors import UserError
from diffalign.files.complete_weights import AGAIN, one_sentence
from diffalign.files.model_files import read_object
from diffalign.files.shard_index import check_index
from diffalign.files.weights_file import read_weights

LORA = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])(?:\.\w+)?\.weight")
UNREAD = ("lm_head.",)


def local_folder(source: str, patterns: Sequence[str]) -> Path:
    """Returns a folder as it is, or the copy of a hub's repository with the files that match ``patterns``.

    Raises:
        UserError: There is no such folder, and no such repository can be reached.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    from huggingface_hub import snapshot_download

    advice = "Expected a folder, or the id of a repository on the hub such as Qwen/Qwen2-VL-2B-Instruct."
    with one_sentence(f"Cannot find '{source}'", UserError, advice):
        return Path(snapshot_download(source, allow_patterns=list(patterns)))


def weight_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Returns the files of the first of ``names`` that the folder holds; the index of several stands for all of them.

    Raises:
        UserError: The folder holds none of them.
    """
    check_index(folder, UserError, AGAIN)
    for name in names:
        file = folder / name
        if file.is_file() and name.endswith(".index.json"):
            return [folder / part for part in sorted(set(read_object(file)["weight_map"].values()))]
        if file.is_file():
            return [file]
    raise UserError(f"{folder} holds no weights of this judge: expected {' or '.join(names)}. {AGAIN}")


def read_state(files: Iterable[Path]) -> dict[str, Tensor]:
    """Returns the tensors of files. Raises UserError where one cannot be read or a value is not finite."""
    state: dict[str, Tensor] = {}
    for file in files:
        state |= read_weights(file)
    return state


def without_peft(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors under the names that they have outside peft."""
    return {key.removeprefix("base_model.model."): value for key, value in state.items()}


def merge_lora(state: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Returns the weights W + scale B A, computed in float32, under the names of the network without LoRA.

    Args:
        state: As :func:`without_peft` returns it. Tensors of modules without LoRA are handed on.
        scale: alpha / r, or alpha / sqrt(r) with rank-stabilised LoRA.

    Raises:
        UserError: One half of a LoRA, or the weight that it changes, is missing.
    """
    halves: dict[str, dict[str, Tensor]] = {}
    merged = {}
    for key, value in state.items():
        if match := LORA.fullmatch(key):
            halves.setdefault(match["module"], {})[match["side"]] = value
        else:
            merged[key.replace(".base_layer.", ".")] = value
    for module, sides in halves.items():
        weight = merged.get(f"{module}.weight")
        if weight is None or set(sides) != {"A", "B"}:
            missing = f"{module}.weight" if weight is None else f"{module}.lora_{'B' if 'A' in sides else 'A'}.weight"
            raise UserError(f"The weights of the judge hold a LoRA of {module} without {missing}. {AGAIN}")
        change = scale * (sides["B"].float() @ sides["A"].float())
        merged[f"{module}.weight"] = (weight.float() + change).to(weight.dtype)
    return merged


def qwen2_vl_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors of a Qwen2-VL with a head under the names of ``Qwen2VLModel``; others keep their names."""
    found = {}
    for key, value in state.items():
        if key.startswith(UNREAD):
            continue
        inner = key.removeprefix("model.")
        if inner.startswith(("visual.", "language_model.")):
            found[inner] = value
        else:
            found[f"language_model.{inner}" if inner != key else key] = value
    return found


def idefics2_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors of an Idefics2 with a head under the names of ``Idefics2Model``; others keep their names."""
    return {key.removeprefix("model."): value for key, value in state.items() if not key.startswith(UNREAD)}


def take_head(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Removes the tensors of the module ``name`` from ``state`` and returns them, without the module's name."""
    keys = [key for key in state if key.startswith(f"{name}.")]
    return {key.removeprefix(f"{name}."): state.pop(key) for key in keys}

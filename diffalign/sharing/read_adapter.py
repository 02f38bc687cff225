"""Reads a shared adapter of either format, loads it into a network, and describes it.

Loading, merging, describing and comparing all read here, so they agree on what an adapter computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffalign.errors import ConfigError, RunError
from diffalign.files.complete_weights import check_finite
from diffalign.files.model_files import is_folder
from diffalign.files.text_files import is_file
from diffalign.sharing.adapter_file import FILE_NAME, read_file
from diffalign.sharing.adapter_state_dict import adapter_tensors, check_base, layer_scales
from diffalign.sharing.peft_folder import CONFIG, is_peft_folder, read_folder
from diffalign.sharing.shared_adapter import SharedAdapter, check_layers

MODEL_INDEX = "model_index.json"
"""The file by which a folder is a whole pipeline of diffusers."""


def read_adapter(path: Path) -> SharedAdapter:
    """Reads diffusers' file or peft's folder, whichever there is.

    Raises:
        ConfigError: There is neither, it cannot be read, it is incomplete, or of a kind that is not supported.
    """
    path = Path(path)
    is_other_file = is_file(path) and path.name == FILE_NAME
    if is_peft_folder(path) and not is_other_file:
        return read_folder(path)
    if is_folder(path) and not is_file(path / FILE_NAME):
        if is_file(path / MODEL_INDEX):
            raise ConfigError(
                f"{path} holds a whole pipeline, not an adapter: one that was merged is part of its weights. Give it as"
                f" a model, --model {path}, or here the adapter that was merged into it."
            )
        raise ConfigError(
            f"{path} is no adapter folder: it has neither {CONFIG} nor {FILE_NAME}. Give the folder of a finished run,"
            " or one that peft or diffusers wrote."
        )
    return read_file(path)


def adapter_advice(folder: Path) -> str:
    """Returns what to do with a folder that was given as a model but holds an adapter; an empty string for others."""
    name = next((name for name in (CONFIG, FILE_NAME) if is_file(folder / name)), "")
    if not name:
        return ""
    return (
        f"it holds an adapter ({name}), not a whole model. To train on top of it, merge it into its base first, and"
        f" give the result as the model: diffalign merge {folder} --into BASE --output FOLDER"
    )


@torch.no_grad()
def load_into(module: nn.Module, path: Path | SharedAdapter, *, base: tuple[str, str] | None = None) -> SharedAdapter:
    """Loads an adapter into a network that has one with the same layers and rank, and returns it.

    Args:
        module: The network. Its own alpha may differ: the delta will be that of the file.
        path: File or folder of the adapter, or what was read from it.
        base: ``(fingerprint, name)`` of the network's base, to compare with the file's; None compares layers only.

    Raises:
        ConfigError: The adapter was made for another base, other layers or another rank, or lacks layers.
    """
    from peft.utils import set_peft_model_state_dict

    adapter = path if isinstance(path, SharedAdapter) else read_adapter(path)
    name = "" if base is None else base[1]
    check_base(adapter.about, base, adapter.path)
    check_layers(adaptable_layers(module), adapter, name)
    _check_shapes(module, adapter, name)
    scales = layer_scales(module)
    tensors = {}
    for key, value in adapter.tensors.items():
        layer, _, tail = key.partition(".lora_B")
        tensors[key] = value.float() * (adapter.scales[layer] / scales[layer] if tail else 1.0)
    check_finite(tensors, f"the adapter {adapter.path}, at its strength,")
    if wrong := set_peft_model_state_dict(module, tensors).unexpected_keys:  # type: ignore[attr-defined]
        raise RunError(f"peft did not take {wrong[:3]} of {adapter.path}; please report this with the version of peft.")
    return adapter


def adaptable_layers(module: nn.Module) -> set[str]:
    """Returns the names of the layers that peft can adapt, as they are called without an adapter."""
    from transformers.pytorch_utils import Conv1D

    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding, Conv1D)
    return {
        name.removesuffix(".base_layer")
        for name, layer in module.named_modules()
        if isinstance(layer, kinds) and ".lora_" not in name
    }


def read_info(path: Path) -> dict[str, Any]:
    """Returns facts about an adapter, diffusers' file or peft's folder, in display order.

    ``file``, ``bytes``, ``kind`` (LoRA or DoRA), ``rank``, ``scale``, ``layers``, ``parameters``, then its metadata
    (method, beta, base_model, eval ...), which adapters of other programs lack.
    """
    adapter = read_adapter(path)
    facts: dict[str, Any] = {
        "file": str(adapter.file),
        "bytes": adapter.file.stat().st_size,
        "kind": "DoRA" if adapter.shape.dora else "LoRA",
        "rank": adapter.shape.rank,
        "scale": adapter.describe_scale(),
        "layers": len(adapter.shape.targets),
        "parameters": sum(value.numel() for value in adapter.tensors.values()),
    }
    return facts | adapter.about


def _check_shapes(module: nn.Module, adapter: SharedAdapter, name: str) -> None:
    """Raises ConfigError where the network's adapter has other layers or another rank."""
    present, stated = (
        {key: tuple(value.shape) for key, value in part.items()}
        for part in (adapter_tensors(module, folded=False), adapter.tensors)
    )
    if present != stated:
        layer, shape = sorted(set(present.items()) ^ set(stated.items()))[0]
        raise ConfigError(
            f"the adapter {adapter.path} ({adapter.about.get('base_model', 'base unknown')}) does not fit this"
            f" model{' ' + name if name else ''}: layers or ranks differ, first at {layer} {shape}. Load it with"
            " load_aligned, which takes rank and layers from the file."
        )

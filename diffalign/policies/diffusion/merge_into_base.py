"""Merges an adapter into the pipeline that it was trained on: a whole pipeline, for adapters that cannot stay apart.

    W' = W + scale B A        in the denoiser and in the text encoders

diffusers converts the names of the file, so that text encoders' tensors and Kohya's format count as well; strength and
completeness are those of every other reader. A file of which a tensor has no place in the pipeline is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.errors import ConfigError
from diffalign.files.atomic import replace_folder
from diffalign.files.complete_weights import check_finite, one_sentence
from diffalign.files.model_files import read_tensors
from diffalign.policies.adapters import AdapterConfig, add_adapter, merge_adapter
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.model_folder import find_model
from diffalign.policies.module_utils import weights_digest
from diffalign.quiet import quiet
from diffalign.sharing.adapter_file import find_adapter_file, read_facts
from diffalign.sharing.adapter_state_dict import check_base
from diffalign.sharing.public_name import public_name
from diffalign.sharing.read_adapter import adaptable_layers, load_into
from diffalign.sharing.shared_adapter import SharedAdapter, check_adapter, check_layers


def merge_into_base(config: ModelConfig, adapter: Path, folder: Path) -> Path:
    """Writes the pipeline of ``config`` with the adapter in its weights, and returns the folder.

    Raises:
        ConfigError: The model or the file cannot be read; the adapter is incomplete, not finite, of another base, or
            has tensors without a place in this pipeline.
    """
    file = find_adapter_file(adapter)
    stored, metadata = read_tensors(file)
    family, source = find_model(config, samples=False)
    dtype = getattr(torch, config.dtype)
    network = family.load_network(source, dtype)
    check_base(read_facts(metadata), (weights_digest([network]), public_name(config.path)), file)
    pipeline = family.load_pipeline(source, dtype)
    pipeline.register_modules(**{family.component: network})
    with one_sentence(f"{file} cannot be merged into {config.path}"):
        parts = _read_parts(pipeline, file, (family.component, *family.text_encoders))
    given, placed = sum(not key.endswith(".alpha") for key in stored), sum(len(part.tensors) for part in parts.values())
    if given != placed:
        raise ConfigError(
            f"only {placed} of the {given} tensors of {file} have a place in {config.path}, so merging would lose some."
            " Give the base that it was trained on, or merge it in the program that wrote it."
        )
    if not parts:
        raise ConfigError(f"{file} holds no tensors, so there is nothing to merge. Give the file of a LoRA.")
    for name, part in parts.items():
        _merge_part(getattr(pipeline, name), part, config.path)
    pipeline.register_modules(**family.saved_parts(network))
    with quiet():
        return replace_folder(folder, pipeline.save_pretrained)


def _read_parts(pipeline: Any, file: Path, names: tuple[str, ...]) -> dict[str, SharedAdapter]:
    """Returns the adapters of a file, by the part of the pipeline that each is for."""
    settings = {"unet_config": pipeline.unet.config} if hasattr(pipeline, "unet") else {}
    found = pipeline.lora_state_dict(str(file), return_lora_metadata=True, **settings)
    tensors, alphas, metadata = ({} if part is None else dict(part) for part in found)
    parts = {}
    for name in names:
        module, prefix = getattr(pipeline, name), f"{name}."
        own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if not own:
            continue
        config = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
        stated = {key.removeprefix(prefix): value for key, value in alphas.items() if key.startswith(prefix)}
        if stated:
            config["alpha_pattern"] = {f"^{_layer(module, key)}": float(value) for key, value in stated.items()}
        parts[name] = check_adapter(file, file, _named(module, own), config, {}, name)
    return parts


def _named(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors by peft's names, of any of the names that diffusers knows."""
    from diffusers.utils import convert_unet_state_dict_to_peft
    from diffusers.utils.state_dict_utils import convert_state_dict_to_diffusers, convert_state_dict_to_peft

    if not hasattr(module, "get_input_embeddings"):
        return convert_unet_state_dict_to_peft(dict(tensors))
    named = {_newer(key): value for key, value in tensors.items()}
    named = convert_state_dict_to_peft(convert_state_dict_to_diffusers(named))
    if not hasattr(module, "text_model"):  # transformers 5 has left out this level
        named = {key.removeprefix("text_model."): value for key, value in named.items()}
    return named


def _newer(key: str) -> str:
    """Returns a text encoder's name of a tensor in newer words, by which diffusers knows every layer's on its own."""
    for older in ("q", "k", "v", "out"):
        key = key.replace(f".to_{older}_lora.", f".{older}_proj.lora_linear_layer.")
    return key


def _layer(module: nn.Module, key: str) -> str:
    """Returns the layer that an alpha belongs to; its name is that of the layer, or of one of the layer's tensors."""
    name = key.removesuffix(".alpha")
    name = name if name.endswith(".weight") else f"{name}.lora.down.weight"
    return next(iter(_named(module, {name: torch.zeros(0)}))).partition(".lora_A")[0]


def _merge_part(module: nn.Module, part: SharedAdapter, model: str) -> None:
    check_layers(adaptable_layers(module), part, model)
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    add_adapter(module, AdapterConfig(rank=part.shape.rank, targets=part.shape.targets, dora=part.shape.dora))
    load_into(module, part)
    merge_adapter(module)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name in trained)
    check_finite(module.state_dict(), f"{model} with {part.file}")

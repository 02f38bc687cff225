"""Adapter files: ``pytorch_lora_weights.safetensors`` as diffusers writes and reads it, with metadata.

    file:  A' = A,   B' = scale B,   alpha' = rank         so that readers with or without alpha compute W + B' A'

``alpha`` has no tensor in this format, and readers that ignore the metadata assume alpha = rank, which the scale folded
into ``B`` makes correct. The metadata are strings: ``lora_adapter_metadata`` in diffusers' own form, and
``diffalign.*`` with the training method and the fingerprint of the base. DoRA's magnitudes are stored as
``lora_magnitude_vector``; diffusers with peft reads them, other programs do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from diffalign import __version__
from diffalign.errors import ConfigError
from diffalign.files.atomic import write_atomically
from diffalign.files.model_files import is_folder, parse_object, read_tensors
from diffalign.files.text_files import is_file
from diffalign.sharing.adapter_state_dict import adapter_tensors, layers
from diffalign.sharing.shared_adapter import SharedAdapter, check_adapter

FILE_NAME = "pytorch_lora_weights.safetensors"
PREFIX = "diffalign."
COMPONENT = "unet"
COMPONENTS = (COMPONENT, "transformer")
"""Names of the denoiser in pipelines: the prefixes that a file's layers may have."""


def save_adapter(module: nn.Module, folder: Path, about: Mapping[str, Any], component: str = COMPONENT) -> Path:
    """Writes the adapter on ``module`` to ``folder/pytorch_lora_weights.safetensors``, atomically.

    Args:
        module: A network with a peft adapter named ``default``.
        folder: Created where it is missing.
        about: Facts for the metadata: method, beta, base_model, base_fingerprint, dataset, eval ... Values that are not
            strings are stored as JSON; None is left out.
        component: The name of the network in its pipeline.

    Returns:
        The file's path.
    """
    from safetensors.torch import save_file

    folded = adapter_tensors(module, folded=True)
    tensors = _rename_uniformly(folded) if component == COMPONENT else folded  # only UNets have older names
    named = {f"{component}.{key}": value for key, value in tensors.items()}
    config = module.peft_config["default"].to_dict()  # type: ignore[union-attr, index, operator]
    config |= {"lora_alpha": config["r"], "use_rslora": False, "target_modules": sorted(layers(folded))}
    config |= {"rank_pattern": {}, "alpha_pattern": {}}
    packed = {f"{component}.{key}": _plain(value) for key, value in config.items()}
    facts = {"version": __version__, **about}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps(packed, indent=2, sort_keys=True)}
    metadata |= {
        PREFIX + key: value if isinstance(value, str) else json.dumps(value, default=str)
        for key, value in facts.items()
        if value is not None
    }
    return write_atomically(Path(folder) / FILE_NAME, lambda path: save_file(named, path, metadata=metadata))


def read_file(path: Path) -> SharedAdapter:
    """Reads the adapter of a file, or of the folder that holds one.

    The strength is that of diffusers: alpha as the file's metadata state it, or the rank.

    Raises:
        ConfigError: The file does not exist or is not safetensors; it holds no adapter of a denoiser, or also one of
            something else; the adapter is incomplete, not finite, or of a kind that is not supported.
    """
    from diffusers.utils import convert_unet_state_dict_to_peft

    file = find_adapter_file(path)
    tensors, metadata = read_tensors(file)
    prefixes = {name: [key for key in tensors if key.startswith(f"{name}.")] for name in COMPONENTS}
    present = [name for name, keys in prefixes.items() if keys]
    if not present or len(present) > 1 or len(prefixes[present[0]]) < len(tensors):
        raise ConfigError(_not_one_adapter(file, tensors, present))
    prefix = present[0] + "."
    config = parse_object(metadata.get("lora_adapter_metadata", "{}"), f"the metadata of {file}")
    config = {key.removeprefix(prefix): value for key, value in config.items() if key.startswith(prefix)}
    named = convert_unet_state_dict_to_peft({key.removeprefix(prefix): value for key, value in tensors.items()})
    return check_adapter(path, file, named, config, read_facts(metadata), present[0])


def read_facts(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Returns the facts of a training, ``diffalign.*`` in a file's metadata, without their prefix."""
    return {key.removeprefix(PREFIX): _decode(value) for key, value in metadata.items() if key.startswith(PREFIX)}


def find_adapter_file(path: Path) -> Path:
    """Returns the adapter file of a path: the file itself, or ``FILE_NAME`` in a folder."""
    path = Path(path)
    file = path / FILE_NAME if is_folder(path) else path
    if not is_file(file):
        raise ConfigError(
            f"there is no adapter file {file}. Give the folder or the .safetensors file of a finished run."
        )
    return file


def _not_one_adapter(file: Path, tensors: Mapping[str, Tensor], present: list[str]) -> str:
    """Says what a file holds that is more or less than the adapter of one denoiser."""
    if len(present) > 1:
        return f"{file} holds adapters of two networks, {' and '.join(present)}; one of them can be loaded at a time."
    other = sorted(key for key in tensors if not key.startswith(tuple(f"{name}." for name in present)))
    advice = "To use it with all its parts, merge it into its base and give the result as the model: diffalign merge"
    command = f"{advice} {file} --into BASE --output FOLDER"
    if present and all(key.startswith("text_encoder") for key in other):
        return (
            f"{file} also changes the text encoder, in {len(other)} of its {len(tensors)} tensors, and only the"
            f" denoiser takes an adapter here. {command}"
        )
    names = ", ".join(other[:2]) or "nothing"
    if other and other[0].startswith(("lora_unet", "lora_te", "lora_transformer")):
        return f"{file} is an adapter in Kohya's format (it holds {names}). {command}"
    if present:
        return f"{file} holds {len(other)} tensors besides the adapter of the {present[0]}, first {names}. {command}"
    return f"{file} holds no adapter of a denoiser in diffusers' format (it holds {names}). Give the file of a LoRA."


def _rename_uniformly(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns diffusers' older names (``lora.down``, ``lora.up``) where every tensor has one, otherwise peft's.

    Only attention has older names. A file with both, as diffusers' own converter writes it for adapters on more than
    attention, loses its attention part when diffusers (0.42) loads it.
    """
    from diffusers.utils import convert_state_dict_to_diffusers

    older = convert_state_dict_to_diffusers(dict(tensors))
    mixed = any(".lora_A." in key or ".lora_magnitude" in key for key in older)
    return tensors if mixed else older


def _plain(value: Any) -> Any:
    """Converts a setting of peft to a value for JSON."""
    if isinstance(value, set | tuple):
        return sorted(value)
    return getattr(value, "value", value)


def _decode(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value

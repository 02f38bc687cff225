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
from diffalign.sharing.adapter_state_dict import (
    AdapterShape,
    adapter_tensors,
    check_base,
    layers,
    load_tensors,
    shape_of,
)
from diffalign.sharing.atomic import write_atomically

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


def read_adapter(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads the tensors of a file, with peft's names (``layer.lora_A.weight``), and its metadata.

    The metadata hold the ``diffalign.*`` facts without their prefix and, where there is one, diffusers' ``config``.

    Raises:
        ConfigError: The file does not exist, is not safetensors, or holds no adapter of a denoiser.
    """
    from diffusers.utils import convert_unet_state_dict_to_peft
    from safetensors import SafetensorError, safe_open

    file = find_adapter_file(path)
    try:
        with safe_open(file, framework="pt") as stored:
            metadata = stored.metadata() or {}
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{file} cannot be read as safetensors ({error}). Give the adapter file itself.") from error
    present = {key.partition(".")[0] for key in tensors}
    prefix = next((name for name in COMPONENTS if name in present), COMPONENT) + "."
    network_tensors = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    if not network_tensors:
        names = ", ".join(sorted(tensors)[:2]) or "nothing"
        raise ConfigError(
            f"{file} holds no adapter of a denoiser in diffusers' format (it holds {names}). To convert a Kohya file,"
            " load it in diffusers (load_lora_weights) and save it (save_lora_weights)."
        )
    about: dict[str, Any] = {
        key.removeprefix(PREFIX): _decode(value) for key, value in metadata.items() if key.startswith(PREFIX)
    }
    if "lora_adapter_metadata" in metadata:
        config = json.loads(metadata["lora_adapter_metadata"])
        about["config"] = {key.removeprefix(prefix): value for key, value in config.items()}
    return convert_unet_state_dict_to_peft(network_tensors), about


def find_adapter_file(path: Path) -> Path:
    """Returns the adapter file of a path: the file itself, or ``FILE_NAME`` in a folder."""
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.exists():
        raise ConfigError(
            f"there is no adapter file {file}. Give the folder or the .safetensors file of a finished run."
        )
    return file


def adapter_shape(path: Path) -> AdapterShape:
    """Reads the rank and the layers of a file from its tensors."""
    return shape_of(read_adapter(path)[0], path)


def load_into(module: nn.Module, path: Path, *, base: tuple[str, str] | None = None) -> dict[str, Any]:
    """Loads a file's adapter into a network that has one with the same layers and rank; returns the file's metadata.

    Args:
        module: The network.
        path: File, or its folder.
        base: ``(fingerprint, name)`` of the network's base, to compare with the file's; None compares shapes only.

    Raises:
        ConfigError: The file was made for another base, other layers or another rank.
    """
    tensors, about = read_adapter(path)
    check_base(about, base, path)
    load_tensors(
        module, tensors, path, made_for=about.get("base_model", "base unknown"), name="" if base is None else base[1]
    )
    return about


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
    except ValueError:
        return value

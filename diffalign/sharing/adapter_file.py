"""Adapter files: ``pytorch_lora_weights.safetensors`` as diffusers writes and reads it, with what the adapter is.

    file:  A' = A,   B' = scale B,   alpha' = rank         so that every reader, told alpha or not, computes W + B' A'

``alpha`` has no tensor in this format, and readers that do not know the metadata assume alpha = rank; folding the scale
into ``B`` makes them right. Metadata (strings all): ``lora_adapter_metadata`` in diffusers' own shape, and
``diffalign.*``: how the adapter was aligned and the fingerprint of its base. DoRA's magnitudes ride along as
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
from diffalign.sharing.adapter_tensors import AdapterShape, adapter_tensors, check_base, layers, load_tensors, shape_of
from diffalign.sharing.atomic import write_atomically

FILE_NAME = "pytorch_lora_weights.safetensors"
PREFIX = "diffalign."
COMPONENT = "unet"
COMPONENTS = (COMPONENT, "transformer")
"""What pipelines call their denoiser: the prefixes that a file's layers may have."""


def save_adapter(module: nn.Module, folder: Path, about: Mapping[str, Any], component: str = COMPONENT) -> Path:
    """Writes the adapter on ``module`` to ``folder/pytorch_lora_weights.safetensors``, atomically.

    Args:
        module: A network with a peft adapter named ``default``.
        folder: Made if need be.
        about: What to tell: method, beta, base_model, base_fingerprint, dataset, eval ... Values that are not strings
            are stored as JSON; None is left out.
        component: What the pipeline calls the network.

    Returns:
        The file's path.
    """
    from safetensors.torch import save_file

    folded = adapter_tensors(module, folded=True)
    tensors = _named_alike(folded) if component == COMPONENT else folded  # only UNets have older names
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
    """Tensors of a file with peft's names (``layer.lora_A.weight``), and what it says about itself.

    ``about`` holds the ``diffalign.*`` facts without their prefix and, where there is one, diffusers' ``config``.

    Raises:
        ConfigError: no such file, not safetensors, or no adapter of a denoiser in it.
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
    start = next((name for name in COMPONENTS if name in present), COMPONENT) + "."
    own = {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
    if not own:
        some = ", ".join(sorted(tensors)[:2]) or "nothing"
        raise ConfigError(
            f"{file} holds no adapter of a denoiser in diffusers' format (it holds {some}). Kohya files are converted"
            " by loading them in diffusers (load_lora_weights) and saving them (save_lora_weights)."
        )
    about: dict[str, Any] = {
        key.removeprefix(PREFIX): _decoded(value) for key, value in metadata.items() if key.startswith(PREFIX)
    }
    if "lora_adapter_metadata" in metadata:
        config = json.loads(metadata["lora_adapter_metadata"])
        about["config"] = {key.removeprefix(start): value for key, value in config.items()}
    return convert_unet_state_dict_to_peft(own), about


def find_adapter_file(path: Path) -> Path:
    """The adapter file that a path means: itself, or the one of that name in a folder."""
    path = Path(path)
    file = path / FILE_NAME if path.is_dir() else path
    if not file.exists():
        raise ConfigError(
            f"there is no adapter file {file}. Give the folder or the .safetensors file of a finished run."
        )
    return file


def adapter_shape(path: Path) -> AdapterShape:
    """Rank and layers of a file, read from its tensors."""
    return shape_of(read_adapter(path)[0], path)


def load_into(module: nn.Module, path: Path, *, base: tuple[str, str] | None = None) -> dict[str, Any]:
    """Puts a file's adapter on a network that has one of the same layers and rank; returns what the file says.

    Args:
        module: The network.
        path: File, or its folder.
        base: ``(fingerprint, name)`` of the network's base, to be compared with the file's; None compares shapes only.

    Raises:
        ConfigError: the file was made for another base, or for other layers or another rank.
    """
    tensors, about = read_adapter(path)
    check_base(about, base, path)
    load_tensors(
        module, tensors, path, made_for=about.get("base_model", "base unknown"), name="" if base is None else base[1]
    )
    return about


def _named_alike(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Diffusers' older names (``lora.down``, ``lora.up``) where they exist for every tensor, else peft's for all.

    Only attention has older names. A file that mixes both, which diffusers' own converter writes for adapters on more
    than attention, loses its attention part when diffusers (0.42) loads it.
    """
    from diffusers.utils import convert_state_dict_to_diffusers

    older = convert_state_dict_to_diffusers(dict(tensors))
    mixed = any(".lora_A." in key or ".lora_magnitude" in key for key in older)
    return tensors if mixed else older


def _plain(value: Any) -> Any:
    """A peft setting as JSON can hold it."""
    if isinstance(value, set | tuple):
        return sorted(value)
    return getattr(value, "value", value)


def _decoded(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value

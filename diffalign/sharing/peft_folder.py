"""Adapter folders in peft's format, so that peft and transformers load a language model's adapter.

    folder/adapter_model.safetensors    base_model.model.LAYER.lora_A.weight, ...
    folder/adapter_config.json          rank, alpha, layers, and the name of the base
    folder/diffalign.json               how it was trained, and the fingerprint of its base

Alpha is stored in the configuration, where every reader of this format expects it. Only rsLoRA's scale,
alpha / sqrt(rank), is folded into ``B`` (and alpha set to the rank), since programs other than peft do not support it.
DoRA's magnitudes load in peft; transformers 5 leaves them out.
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

WEIGHTS, CONFIG, FACTS = "adapter_model.safetensors", "adapter_config.json", "diffalign.json"
PREFIX = "base_model.model."


def save_peft(module: nn.Module, folder: Path, about: Mapping[str, Any]) -> Path:
    """Writes the adapter on ``module`` into ``folder``, each file atomically; other files stay.

    Args:
        module: A model of transformers with a peft adapter named ``default``.
        folder: Created where it is missing.
        about: Facts for ``diffalign.json``: base_model, base_revision, base_fingerprint, method, beta, dataset, eval
            ...; None is left out. The first two also name the base in peft's own file.

    Returns:
        The folder.
    """
    from safetensors.torch import save_file

    folder, config = Path(folder), _config(module)
    tensors = adapter_tensors(module, folded=bool(config["use_rslora"]))
    if config["use_rslora"]:
        config |= {"use_rslora": False, "lora_alpha": config["r"]}
    config |= {
        "target_modules": _shortest_suffixes(module, layers(tensors)),
        "base_model_name_or_path": about.get("base_model"),
        "revision": about.get("base_revision"),
        "inference_mode": True,
    }
    facts = {"version": __version__, **{key: value for key, value in about.items() if value is not None}}
    named = {PREFIX + key: value for key, value in tensors.items()}
    _write_json(folder / CONFIG, config)
    _write_json(folder / FACTS, facts)
    write_atomically(folder / WEIGHTS, lambda path: save_file(named, path, metadata={"format": "pt"}))
    return folder


def is_peft_folder(path: Path) -> bool:
    """Returns whether ``path`` is a folder in peft's format, or the file of its weights."""
    path = Path(path)
    return ((path if path.is_dir() else path.parent) / CONFIG).is_file()


def read_peft(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads the tensors of a folder, with peft's names (``layer.lora_A.weight``), and its metadata.

    The metadata hold the facts of ``diffalign.json``, peft's own ``config``, and ``scale``. For a folder of another
    program the name of the base comes from the configuration.

    Raises:
        ConfigError: The folder does not exist, a file cannot be read, or the adapter is neither LoRA nor DoRA.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = find_peft(path)
    config, facts = _read_json(folder / CONFIG), folder / FACTS
    _check_kind(config, folder)
    about = _read_json(facts) if facts.is_file() else {}
    if config.get("base_model_name_or_path"):
        about.setdefault("base_model", config["base_model_name_or_path"])
    try:
        stored = load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ConfigError(
            f"{folder / WEIGHTS} cannot be read as safetensors ({error}). Copy the folder again."
        ) from error
    tensors = {key.removeprefix(PREFIX): value for key, value in stored.items()}
    shape = shape_of(tensors, folder)
    root = shape.rank ** (0.5 if config.get("use_rslora") else 1.0)
    about |= {"config": config, "scale": float(config.get("lora_alpha", shape.rank)) / root}
    return tensors, about


def find_peft(path: Path) -> Path:
    """Returns the folder of a path: the folder itself, or that of the weights.

    Raises:
        ConfigError: The folder does not exist, or lacks one of peft's files.
    """
    path = Path(path)
    folder = path.parent if path.is_file() else path
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        has_pickle = (folder / "adapter_model.bin").is_file()
        advice = " Its adapter_model.bin can run code when it is loaded: save it as safetensors." if has_pickle else ""
        raise ConfigError(
            f"{path} is no adapter folder: it has no {' and no '.join(missing)}.{advice} Give the folder of a finished"
            " run, or one that peft's save_pretrained wrote."
        )
    return folder


def peft_shape(path: Path) -> AdapterShape:
    """Reads the rank and the layers of a folder from its tensors."""
    return shape_of(read_peft(path)[0], Path(path))


def load_peft(module: nn.Module, path: Path, *, base: tuple[str, str] | None = None) -> dict[str, Any]:
    """Loads a folder's adapter into a model that has one with the same layers and rank; returns the metadata.

    Args:
        module: The model. Its own alpha may differ: the loaded delta is that of the folder.
        path: The folder.
        base: ``(fingerprint, name)`` of the model's base, to compare with the folder's; None compares shapes only.

    Raises:
        ConfigError: The adapter was made for another base, other layers or another rank.
    """
    tensors, about = read_peft(path)
    check_base(about, base, path)
    name, made_for = "" if base is None else base[1], about.get("base_model", "base unknown")
    load_tensors(module, tensors, path, scale=about["scale"], made_for=made_for, name=name)
    return about


def _config(module: nn.Module) -> dict[str, Any]:
    config = module.peft_config["default"].to_dict()  # type: ignore[union-attr, index, operator]
    return {key: getattr(value, "value", value) for key, value in config.items()}


def _shortest_suffixes(module: nn.Module, names: set[str]) -> list[str]:
    """Returns the shortest suffixes that match exactly these layers: ``q_proj`` where every block has it adapted."""
    module_names = {name for name, _ in module.named_modules()}
    for length in range(1, 1 + max(name.count(".") for name in module_names)):
        suffixes = {".".join(name.split(".")[-length:]) for name in names}
        if {name for name in module_names if any(name == s or name.endswith("." + s) for s in suffixes)} == names:
            return sorted(suffixes)
    return sorted(names)


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    unsupported = [key for key in ("modules_to_save", "alpha_pattern", "target_parameters") if config.get(key)]
    kind = config.get("peft_type", "LORA")
    if kind != "LORA" or unsupported:
        problem = f"of kind {kind}" if kind != "LORA" else f"with {unsupported[0]}"
        raise ConfigError(
            f"{folder} holds an adapter {problem}; only LoRA and DoRA with one alpha can be loaded. Merge it into its"
            " base with merge_and_unload() in peft, and give the merged model as model.path."
        )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, default=_plain) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON ({error}). Copy the folder again.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold an object, got {type(values).__name__}. Copy the folder again.")
    return values

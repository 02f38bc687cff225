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

from torch import nn

from diffalign import __version__
from diffalign.errors import ConfigError
from diffalign.files.atomic import write_atomically
from diffalign.files.model_files import is_folder, read_object, read_tensors
from diffalign.files.text_files import is_file
from diffalign.sharing.adapter_state_dict import adapter_tensors, layers
from diffalign.sharing.shared_adapter import SharedAdapter, check_adapter, check_kind

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
    return is_file((path if is_folder(path) else path.parent) / CONFIG)


def read_folder(path: Path) -> SharedAdapter:
    """Reads the adapter of a folder.

    For a folder of another program the name of the base comes from peft's configuration.

    Raises:
        ConfigError: The folder does not exist, a file cannot be read; the adapter is incomplete, not finite, or neither
            LoRA nor DoRA.
    """
    folder = find_peft(path)
    config = read_object(folder / CONFIG)
    about = read_object(folder / FACTS) if is_file(folder / FACTS) else {}
    if config.get("base_model_name_or_path"):
        about.setdefault("base_model", config["base_model_name_or_path"])
    check_kind(config, folder)
    stored, _ = read_tensors(folder / WEIGHTS)
    tensors = {key.removeprefix(PREFIX): value for key, value in stored.items()}
    return check_adapter(path, folder / WEIGHTS, tensors, config, about)


def find_peft(path: Path) -> Path:
    """Returns the folder of a path: the folder itself, or that of the weights.

    Raises:
        ConfigError: The folder does not exist, or lacks one of peft's files.
    """
    path = Path(path)
    folder = path.parent if is_file(path) else path
    missing = [name for name in (CONFIG, WEIGHTS) if not is_file(folder / name)]
    if missing:
        has_pickle = is_file(folder / "adapter_model.bin")
        advice = " Its adapter_model.bin can run code when it is loaded: save it as safetensors." if has_pickle else ""
        raise ConfigError(
            f"{path} is no adapter folder: it has no {' and no '.join(missing)}.{advice} Give the folder of a finished"
            " run, or one that peft's save_pretrained wrote."
        )
    return folder


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


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, default=_plain) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else str(value)

"""Adapter folders: what peft writes and reads, so that plain peft and transformers load a language model's adapter.

    folder/adapter_model.safetensors    base_model.model.LAYER.lora_A.weight, ...
    folder/adapter_config.json          rank, alpha, layers, and the name of the base
    folder/diffalign.json               how it came about, and the fingerprint of its base

Alpha stands in the configuration, where every reader of this format looks for it. Only rsLoRA's scale,
alpha / sqrt(rank), is folded into ``B`` (and alpha set to the rank): programs beside peft do not know it. DoRA's
magnitudes load in peft; transformers 5 leaves them out.
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

WEIGHTS, CONFIG, FACTS = "adapter_model.safetensors", "adapter_config.json", "diffalign.json"
PREFIX = "base_model.model."


def save_peft(module: nn.Module, folder: Path, about: Mapping[str, Any]) -> Path:
    """Writes the adapter on ``module`` into ``folder``, each file as a whole or not at all; other files stay.

    Args:
        module: A model of transformers with a peft adapter named ``default``.
        folder: Made if need be.
        about: What to tell: base_model, base_revision, base_fingerprint, method, beta, dataset, eval ...; None is left
            out. The first two also name the base in peft's own file.

    Returns:
        The folder.
    """
    from safetensors.torch import save_file

    folder, config = Path(folder), _config(module)
    tensors = adapter_tensors(module, folded=bool(config["use_rslora"]))
    if config["use_rslora"]:
        config |= {"use_rslora": False, "lora_alpha": config["r"]}
    config |= {
        "target_modules": _short(module, layers(tensors)),
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
    """Whether ``path`` is a folder as peft writes it, or its weights."""
    path = Path(path)
    return ((path if path.is_dir() else path.parent) / CONFIG).is_file()


def read_peft(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a folder with peft's names (``layer.lora_A.weight``), and what it says about itself.

    ``about`` holds the facts of ``diffalign.json``, peft's own ``config``, and ``scale``. A folder of another program
    has its base's name from the configuration.

    Raises:
        ConfigError: no such folder, a file that cannot be read, or an adapter of another kind than LoRA and DoRA.
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
    """The folder that a path means: itself, or the one of the weights.

    Raises:
        ConfigError: no such folder, or one without both of peft's files.
    """
    path = Path(path)
    folder = path.parent if path.is_file() else path
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        older = ", which loads code: save it anew as safetensors" if (folder / "adapter_model.bin").is_file() else ""
        raise ConfigError(
            f"{path} is no adapter folder: it has no {' and no '.join(missing)}{older}. Give the folder of a finished"
            " run, or one that peft's save_pretrained wrote."
        )
    return folder


def peft_shape(path: Path) -> AdapterShape:
    """Rank and layers of a folder, read from its tensors."""
    return shape_of(read_peft(path)[0], Path(path))


def load_peft(module: nn.Module, path: Path, *, base: tuple[str, str] | None = None) -> dict[str, Any]:
    """Puts a folder's adapter on a model that has one of the same layers and rank; returns what the folder says.

    Args:
        module: The model. Its own alpha may differ: the delta is the folder's.
        path: The folder.
        base: ``(fingerprint, name)`` of the model's base, to be compared with the folder's; None compares shapes only.

    Raises:
        ConfigError: the adapter was made for another base, or for other layers or another rank.
    """
    tensors, about = read_peft(path)
    check_base(about, base, path)
    name, made_for = "" if base is None else base[1], about.get("base_model", "base unknown")
    load_tensors(module, tensors, path, scale=about["scale"], made_for=made_for, name=name)
    return about


def _config(module: nn.Module) -> dict[str, Any]:
    config = module.peft_config["default"].to_dict()  # type: ignore[union-attr, index, operator]
    return {key: getattr(value, "value", value) for key, value in config.items()}


def _short(module: nn.Module, names: set[str]) -> list[str]:
    """The shortest ends that mean just these layers: ``q_proj`` where it is adapted in every block."""
    every = {name for name, _ in module.named_modules()}
    for length in range(1, 1 + max(name.count(".") for name in every)):
        ends = {".".join(name.split(".")[-length:]) for name in names}
        if {name for name in every if any(name == end or name.endswith("." + end) for end in ends)} == names:
            return sorted(ends)
    return sorted(names)


def _check_kind(config: Mapping[str, Any], folder: Path) -> None:
    odd = [key for key in ("modules_to_save", "alpha_pattern", "target_parameters") if config.get(key)]
    kind = config.get("peft_type", "LORA")
    if kind != "LORA" or odd:
        what = f"of kind {kind}" if kind != "LORA" else f"with {odd[0]}"
        raise ConfigError(
            f"{folder} holds an adapter {what}, and LoRA or DoRA of one strength can be loaded. Merge it into its base"
            " with merge_and_unload() in peft, and give the merged model as model.path."
        )


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, default=_plain) + "\n"
    write_atomically(path, lambda beside: beside.write_text(text, encoding="utf-8"))


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

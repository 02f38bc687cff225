"""A shared adapter: what its file states, read once for loading, merging, describing and comparing.

    delta of a layer = scale B A,      scale = alpha / rank   (rsLoRA: alpha / sqrt(rank)),   1 where no alpha is stated

An adapter that would compute something else than in the program that wrote it is refused: one whose tensors are
incomplete, not finite or not all of a LoRA, and one whose settings change more than the scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from diffalign.errors import ConfigError
from diffalign.files.complete_weights import check_finite
from diffalign.sharing.adapter_state_dict import AdapterShape, own_base, shape_of

MERGE = "Merge it into its base and give the result as the model: diffalign merge {path} --into BASE --output FOLDER"
READ_SETTINGS = {
    *("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "target_modules"),
    *("exclude_modules", "layers_to_transform", "layers_pattern"),
}
"""Settings of peft that are followed here."""
HARMLESS_SETTINGS = {
    *("peft_type", "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *("inference_mode", "lora_dropout", "fan_in_fan_out", "init_lora_weights", "ensure_weight_tying", "megatron_core"),
    *("eva_config", "loftq_config", "corda_config", "lora_ga_config", "qalora_group_size", "parent_library"),
}
"""Settings of peft that change nothing once the tensors are there (``init_lora_weights`` is checked by its value)."""
HARMLESS_STARTS = (None, True, False, "gaussian", "eva", "orthogonal", "mica")
"""Values of ``init_lora_weights`` that leave the base's weights as they are."""


@dataclass(frozen=True)
class SharedAdapter:
    """An adapter of a file, complete and finite.

    Args:
        path: The file or folder that was given.
        file: The file of the tensors.
        tensors: By peft's names, ``layer.lora_A.weight`` ``(rank, in)`` and ``layer.lora_B.weight`` ``(out, rank)``.
        scales: The factor on ``B A`` of each layer.
        config: peft's settings; empty where the file states none.
        about: The facts of its training and its base.
        component: The pipeline's name of the network, for a file of diffusers; empty for a folder of peft.
    """

    path: Path
    file: Path
    tensors: dict[str, Tensor]
    scales: dict[str, float]
    config: dict[str, Any]
    about: dict[str, Any]
    component: str = ""

    @cached_property
    def shape(self) -> AdapterShape:
        """Its rank and layers."""
        return shape_of(self.tensors, self.path)

    def folded(self) -> dict[str, Tensor]:
        """Returns the tensors as float32, with the scale of each layer folded into ``B``."""
        return {
            key: value.float() * (self.scales[key.partition(".lora_B")[0]] if ".lora_B" in key else 1.0)
            for key, value in self.tensors.items()
        }

    def describe_scale(self) -> float | str:
        """Returns the scale of all layers, or the range of several."""
        low, high = min(self.scales.values()), max(self.scales.values())
        return low if low == high else f"{low:g} to {high:g}"


def check_adapter(
    path: Path, file: Path, tensors: dict[str, Tensor], config: Any, about: Any, component: str = ""
) -> SharedAdapter:
    """Returns the adapter of a file's content.

    Raises:
        ConfigError: The tensors are not those of a complete LoRA or DoRA, or a value is not finite; a setting is not
            supported, or contradicts the tensors.
    """
    for name, value in (("peft's settings", config), ("the facts of its training", about)):
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: {name} must be an object, got {type(value).__name__}. Copy the adapter again.")
    check_kind(config, path)
    shape = shape_of(tensors, path)
    _check_complete(tensors, shape, path)
    check_finite(tensors, f"the adapter {path}")
    _check_agreement(config, shape, path)
    scales = _scales(config, shape, path)
    return SharedAdapter(Path(path), file, tensors, scales, config, about, component)


def check_kind(config: Mapping[str, Any], path: Path) -> None:
    """Raises ConfigError where peft's settings are those of another kind of adapter, or one is not supported."""
    from peft import LoraConfig

    if (kind := config.get("peft_type") or "LORA") != "LORA":
        raise ConfigError(_only_lora(path, f"of kind {str(kind)[:40]}"))
    usual = LoraConfig().to_dict()
    for key, value in config.items():
        if key not in READ_SETTINGS | HARMLESS_SETTINGS and value and value != usual.get(key):
            raise ConfigError(_only_lora(path, f"with the setting {key[:80]}"))
    start = config.get("init_lora_weights", True)
    if start not in HARMLESS_STARTS:
        raise ConfigError(
            _only_lora(path, f"with init_lora_weights {str(start)[:40]!r}, which changes the base's weights")
        )


def _check_complete(tensors: Mapping[str, Tensor], shape: AdapterShape, path: Path) -> None:
    """Raises ConfigError unless every layer has both factors, of shapes that multiply, and all or none a magnitude."""
    parts = (".lora_A.weight", ".lora_B.weight", *([".lora_magnitude_vector"] if shape.dora else []))
    missing = [layer + part for layer in shape.targets for part in parts if layer + part not in tensors]
    if missing:
        raise ConfigError(
            f"the adapter {path} lacks {len(missing)} of {len(parts) * len(shape.targets)} tensors, first {missing[0]}:"
            " it was cut or saved in part. Copy or save it again."
        )
    for layer in shape.targets:
        down, up = (tensors[f"{layer}.lora_{part}.weight"] for part in "AB")
        fit = down.ndim == up.ndim >= 2 and up.shape[1] == down.shape[0] == shape.rank
        if not (fit and down.is_floating_point() and up.is_floating_point()):
            raise ConfigError(
                f"the adapter {path} has tensors at {layer} that are no LoRA of rank {shape.rank}: A {_show(down)}, B"
                f" {_show(up)}. Copy or save it again."
            )


def _check_agreement(config: Mapping[str, Any], shape: AdapterShape, path: Path) -> None:
    """Raises ConfigError where the settings contradict the tensors."""
    rank = config.get("r", shape.rank)
    if not config.get("rank_pattern") and rank != shape.rank:
        raise ConfigError(
            f"{path} states rank {str(rank)[:40]}, but its tensors have rank {shape.rank}: its parts belong to two"
            " adapters. Copy or save it again."
        )
    for name in ("use_rslora", "use_dora"):
        if not isinstance(config.get(name), bool | None):
            raise ConfigError(f"{path} states {name} {str(config[name])[:40]!r}; true or false is expected.")
    if "use_dora" in config and bool(config["use_dora"]) != shape.dora:
        raise ConfigError(
            f"{path} states use_dora {str(config['use_dora'])[:40]}, but its tensors have"
            f" {'' if shape.dora else 'no '}magnitudes: its parts belong to two adapters. Copy or save it again."
        )


def _scales(config: Mapping[str, Any], shape: AdapterShape, path: Path) -> dict[str, float]:
    """Returns the factor on ``B A`` of each layer, as peft computes it from alpha and its exceptions."""
    root = math.sqrt(shape.rank) if config.get("use_rslora") else shape.rank
    alpha, exceptions = config.get("lora_alpha", shape.rank), config.get("alpha_pattern") or {}
    if not isinstance(exceptions, Mapping) or any(set(key) & set("*+?()[]{}|") for key in exceptions):
        raise ConfigError(
            f"{path} states alpha_pattern by expressions; layers' names are expected. " + MERGE.format(path=path)
        )
    for value in (alpha, *exceptions.values()):
        if not isinstance(value, int | float) or isinstance(value, bool) or not -1e9 < value < 1e9:
            raise ConfigError(f"{path} states alpha {str(value)[:40]!r}; a number is expected. Copy or save it again.")
    return {name: _of_layer(name, exceptions, alpha) / root for name in shape.targets}


def _of_layer(name: str, exceptions: Mapping[str, float], usual: float) -> float:
    """Returns the value of the first exception for a layer: its name, or the end of it; ``^`` marks a whole name."""
    for key, value in exceptions.items():
        plain = key.replace("\\.", ".").removesuffix("$")
        if plain.startswith("^"):
            matches = name == plain[1:]
        else:
            matches = name == plain or name.endswith(f".{plain}")
        if matches:
            return float(value)
    return float(usual)


def check_layers(names: Iterable[str], adapter: SharedAdapter, model: str) -> None:
    """Raises ConfigError unless a model has all layers of an adapter, and this all layers that its settings name.

    Args:
        names: The model's layers that can be adapted.
        adapter: The adapter.
        model: The model's name for messages.
    """
    found, stated = set(names), set(adapter.shape.targets)
    made_for = adapter.about.get("base_model", "base unknown")
    if absent := sorted(stated - found):
        raise ConfigError(
            f"the adapter {adapter.path} ({made_for}) does not fit {model or 'this model'}:"
            f" {len(absent)} of its {len(stated)} layers are not there, first {absent[0]}. {own_base(adapter.about)}"
        )
    if lost := sorted(name for name in found - stated if _names_layer(adapter.config, name)):
        raise ConfigError(
            f"the adapter {adapter.path} is incomplete: its settings name {len(lost)} layers of"
            f" {model or 'this model'} that it has no tensors for, first {lost[0]}. Copy or save it again."
        )


def _names_layer(config: Mapping[str, Any], name: str) -> bool:
    """Returns whether peft's settings name a layer. Expressions are not followed: they name none."""
    from types import SimpleNamespace

    from peft.tuners.tuners_utils import check_target_module_exists

    targets, excluded = config.get("target_modules"), config.get("exclude_modules")
    indices = config.get("layers_to_transform")
    names = [part for part in (targets, excluded or [], indices or []) if isinstance(part, list | tuple | set)]
    if len(names) < 3 or config.get("layers_pattern") or not all(isinstance(target, str) for target in targets or ()):
        return False
    settings = SimpleNamespace(
        target_modules=list(targets or ()),
        exclude_modules=list(excluded or ()),
        layers_to_transform=indices,
        layers_pattern=None,
        target_parameters=None,
    )
    return check_target_module_exists(settings, name) is True


def _only_lora(path: Path, problem: str) -> str:
    return (
        f"{path} holds an adapter {problem}; only LoRA and DoRA can be loaded. Merge it into its base with"
        " merge_and_unload() in peft, and give the merged model as model.path."
    )


def _show(value: Tensor) -> str:
    return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"

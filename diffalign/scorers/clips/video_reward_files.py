"""The files of a VideoReward: a configuration, and a checkpoint with the whole model or with a LoRA of it.

    FOLDER/model_config.json                              data, model, LoRA, means and deviations
    FOLDER/checkpoint-N/model.pth                         every tensor, as released: LoRA beside the weights it changes
    FOLDER/checkpoint-N/adapter_model.safetensors         or LoRA alone, on the weights of the model that
    FOLDER/checkpoint-N/non_lora_state_dict.pth           model_config.json names, and the tensors without LoRA

Of several checkpoints the last is read. The scale of the LoRA is in the configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from diffalign.errors import ConfigError, UserError
from diffalign.files.complete_weights import AGAIN
from diffalign.files.model_files import read_object
from diffalign.printable import shown
from diffalign.scorers.vision_language.checkpoint import (
    local_folder,
    merge_lora,
    qwen2_vl_keys,
    read_state,
    weight_files,
    without_peft,
)
from diffalign.scorers.vision_language.qwen2_vl import SETTINGS, settings_of

CONFIG = "model_config.json"
WHOLE = ("model.pth", "model.safetensors.index.json", "model.safetensors")
ADAPTER, REST = "adapter_model.safetensors", "non_lora_state_dict.pth"
BASE = ("model.safetensors.index.json", "model.safetensors")
PUBLISHED: dict[str, dict[str, Any]] = {
    "data_config": {"sample_type": "uniform", "prompt_template_type": "detailed_special", "num_frames": None},
    "model_config": {"use_special_tokens": True, "reward_token": "special"},
}
"""Values that the scorer follows; with others the scores would mean something else."""


@dataclass(frozen=True)
class RewardSettings:
    """What a configuration says of the input and the scale.

    Args:
        fps: Frames that the model sees of each second.
        pixels: Largest number of pixels of a frame.
        means: Of VQ, MQ and TA.
        deviations: Of VQ, MQ and TA.
    """

    fps: float = 2.0
    pixels: int = 256 * 28 * 28
    means: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviations: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class RewardFiles:
    """What was read.

    Args:
        state: Tensors under the names of ``Qwen2VLModel``, LoRA merged, and ``rm_head.weight``.
        settings: Of the input and the scale.
        settings_of: Folder or hub id of Qwen2-VL's configuration and tokenizer.
    """

    state: dict[str, Tensor]
    settings: RewardSettings
    settings_of: str


def read_reward_files(source: str) -> RewardFiles:
    """Reads a folder or a hub's repository.

    Raises:
        UserError: A file is missing or is another's.
    """
    folder = local_folder(source, (CONFIG, "checkpoint-*", "checkpoint-*/*", *SETTINGS))
    try:
        config = read_object(folder / CONFIG)
    except ConfigError as error:
        raise UserError(f"'{source}' is no VideoReward: {error}") from error
    settings, base = _settings(config, source), str(_part(config, "model_config", source).get("model_name_or_path", ""))
    checkpoint = _last_checkpoint(folder)
    if (checkpoint / ADAPTER).is_file():
        tensors = read_state(weight_files(local_folder(base, ("model*.safetensors*", *SETTINGS)), BASE))
        files = [checkpoint / ADAPTER, *([checkpoint / REST] if (checkpoint / REST).is_file() else [])]
        tensors |= without_peft(read_state(files))
    else:
        tensors = without_peft(read_state(weight_files(checkpoint, WHOLE)))
    state = qwen2_vl_keys(merge_lora(tensors, _lora_scale(config, source)))
    return RewardFiles(state, settings, settings_of(folder, base))


def _settings(config: Mapping[str, Any], source: str) -> RewardSettings:
    for name, wanted in PUBLISHED.items():
        given = _part(config, name, source)
        for key, value in wanted.items():
            if given.get(key, value) != value:
                raise UserError(
                    f"{CONFIG} of '{source}' has {name}.{key} = {shown(given[key])}, and video_reward follows "
                    f"{value!r}, the released model's. Score it with its own code."
                )
    data, scale = _part(config, "data_config", source), config.get("inference_config") or {}
    names = ("VQ", "MQ", "TA")
    try:
        return RewardSettings(
            fps=float(data.get("fps", 2.0)),
            pixels=int(data.get("max_frame_pixels", 256 * 28 * 28)),
            means=tuple(float(scale[f"{name}_mean"]) for name in names) if scale else (0.0, 0.0, 0.0),  # type: ignore[arg-type]
            deviations=tuple(float(scale[f"{name}_std"]) for name in names) if scale else (1.0, 1.0, 1.0),  # type: ignore[arg-type]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{CONFIG} of '{source}' cannot be followed ({error}). {AGAIN}") from error


def _part(config: Mapping[str, Any], name: str, source: str) -> Mapping[str, Any]:
    part = config.get(name)
    if not isinstance(part, Mapping):
        raise UserError(f"{CONFIG} of '{source}' has no {name}, so it is no VideoReward's. {AGAIN}")
    return part


def _lora_scale(config: Mapping[str, Any], source: str) -> float:
    lora = config.get("peft_lora_config") or {}
    rank, alpha = lora.get("lora_r", 16), lora.get("lora_alpha", 32)
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise UserError(f"{CONFIG} of '{source}' has a LoRA of rank {shown(rank)} and alpha {shown(alpha)}. {AGAIN}")
    return alpha / (math.sqrt(rank) if lora.get("use_rslora") else rank)


def _last_checkpoint(folder: Path) -> Path:
    numbered = {int(n): p for p in folder.glob("checkpoint-*") if (n := p.name.rpartition("-")[2]).isdigit()}
    if not numbered:
        raise UserError(f"{folder} holds no checkpoint-N with the weights of a VideoReward. {AGAIN}")
    return numbered[max(numbered)]

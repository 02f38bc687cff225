"""Puts a motion adapter into the UNet of an image pipeline, after checks of what diffusers would get silently wrong.

``UNetMotionModel.from_unet2d`` compares the numbers of blocks and layers only. It takes the groups of normalisation
from the UNet, whatever the adapter was trained with, drops what a UNet's configuration says beyond its own names, and
leaves the embedding of XL's added conditions at random values (diffusers 0.42): here every tensor is copied.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diffalign.errors import ConfigError
from diffalign.files.complete_weights import load_complete, variant_of
from diffalign.files.model_files import read_object
from diffalign.files.weightless import build_without_weights, opens_without_weights, with_repeated_zeros
from diffalign.policies.diffusion.families.load_parts import dtype_keyword, load_part
from diffalign.policies.diffusion.families.source import ModelSource
from diffalign.quiet import quiet

CLASS = "MotionAdapter"


def is_motion_adapter(folder: Path) -> bool:
    """Returns whether a folder holds a motion adapter, by its configuration."""
    try:
        return read_object(folder / "config.json").get("_class_name") == CLASS
    except ConfigError:
        return False


def check_fits(source: ModelSource, unet: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the adapter's configuration, with the defaults of what it leaves out.

    Raises:
        ConfigError: The folder holds no motion adapter, one for image to video, or one of another shape than the UNet;
            the base predicts something else than noise, or needs settings that a video UNet does not have.
    """
    assert source.motion is not None, "there is no motion adapter"
    adapter, base = _config(source.motion), source.folder
    if adapter["conv_in_channels"]:
        raise ConfigError(
            f"{source.motion} is an image-to-video adapter: its conv_in takes {adapter['conv_in_channels']} channels, a"
            " first frame among them, which no prompt gives. Give a text-to-video motion adapter, such as"
            " guoyww/animatediff-motion-adapter-v1-5-2."
        )
    for ours, theirs, what in _SHAPES:
        found, wanted = adapter[ours], unet.get(theirs)
        if ours == "motion_layers_per_block":
            found, wanted = _per_block(found, adapter), _per_block(wanted, adapter)
        if _plain(found) != _plain(wanted):
            raise ConfigError(
                f"{source.motion} has {what} {_words(found)}, but the UNet of {base} has {_words(wanted)}: it was"
                " trained for another model. Give the adapter of this model, or the model of this adapter."
            )
    _check_base(source, unet)
    return adapter


def load_with_motion(source: ModelSource, component: str, dtype: torch.dtype) -> Any:
    """Loads the image UNet and the adapter, and returns the video UNet of both. Raises ConfigError for a tensor of the
    image UNet without a place.
    """
    from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel

    motion = source.motion
    assert motion is not None, "there is no motion adapter"
    unet = load_part(UNet2DConditionModel, source.folder, component, dtype)

    def load(**settings: Any) -> Any:
        return MotionAdapter.from_pretrained(str(motion), variant=variant_of(motion), **settings)

    precision: dict[str, Any] = dtype_keyword(dtype)
    if opens_without_weights():
        adapter = build_without_weights(MotionAdapter, str(motion), dtype)
        with quiet(), torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says of each tensor that its values go nowhere
            shaped = UNetMotionModel.from_unet2d(unet, adapter).to(dtype)
        return with_repeated_zeros(shaped)
    adapter = load_complete(load, str(motion), strict=True, **precision)
    with quiet():
        network = UNetMotionModel.from_unet2d(unet, adapter)
    left_over = network.load_state_dict(unet.state_dict(), strict=False).unexpected_keys
    if left_over:
        raise ConfigError(
            f"the UNet of {source.folder} has {len(left_over)} tensors that a video UNet has no place for, first"
            f" {left_over[0]}. Give a base of the shape of Stable Diffusion 1.5 or XL."
        )
    return network


def motion_adapter_of(network: Any) -> Any:
    """Returns the motion modules of a video UNet as an adapter for other bases.

    diffusers' own ``save_motion_modules`` leaves out the number of transformer layers, and fails beside a LoRA.
    """
    from diffusers import MotionAdapter

    config = network.config
    adapter: Any = MotionAdapter(
        block_out_channels=config.block_out_channels,
        motion_layers_per_block=config.layers_per_block,
        motion_transformer_layers_per_block=config.temporal_transformer_layers_per_block,
        motion_mid_block_layers_per_block=config.mid_block_layers,
        motion_transformer_layers_per_mid_block=config.temporal_transformer_layers_per_mid_block,
        motion_norm_num_groups=config.norm_num_groups,
        motion_num_attention_heads=config.motion_num_attention_heads,
        motion_max_seq_length=config.motion_max_seq_length,
        use_motion_mid_block=config.use_motion_mid_block,
    )
    tensors = {name: value for name, value in network.state_dict().items() if "motion_modules" in name.split(".")}
    adapter.load_state_dict(tensors)
    return adapter


def _config(folder: Path) -> dict[str, Any]:
    config = read_object(folder / "config.json")
    found = config.get("_class_name")
    if found != CLASS:
        held = (
            f"holds a {str(found)[:80]}, no {CLASS}" if found else f"holds no {CLASS}: its config.json names no class"
        )
        raise ConfigError(
            f"model.motion {folder} {held}. Give the folder that"
            " MotionAdapter.save_pretrained wrote, or a hub name such as guoyww/animatediff-motion-adapter-v1-5-2."
        )
    return {**_defaults(CLASS), **config}


def _check_base(source: ModelSource, unet: Mapping[str, Any]) -> None:
    """Raises ConfigError for a base that a video UNet cannot hold, or whose noise levels no adapter was trained on."""
    prediction = source.config("scheduler", "scheduler_config.json").get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise ConfigError(
            f"{source.folder} predicts {str(prediction)[:40]!r}, but motion adapters are trained on bases that predict"
            " noise (epsilon), such as Stable Diffusion 1.5. Give such a base."
        )
    known, usual = _defaults("UNetMotionModel"), _defaults("UNet2DConditionModel")
    dropped = [name for name in unet if name in usual and name not in known and name not in _RENAMED]
    lost = [name for name in dropped if _plain(unet[name] or None) != _plain(usual[name] or None)]
    if lost:
        raise ConfigError(
            f"the UNet of {source.folder} has {lost[0]} = {str(unet[lost[0]])[:60]}, which a video UNet does not have,"
            " so it would compute something else. Give a base of the shape of Stable Diffusion 1.5 or XL."
        )


def _defaults(network: str) -> dict[str, Any]:
    """Returns the settings that a class of diffusers has, with their defaults."""
    import inspect

    import diffusers

    parameters = inspect.signature(getattr(diffusers, network).__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name not in ("self", "kwargs")}


def _per_block(value: Any, adapter: Mapping[str, Any]) -> list[Any]:
    return [value] * len(adapter["block_out_channels"]) if isinstance(value, int) else list(value or ())


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


_SHAPES = (
    ("block_out_channels", "block_out_channels", "blocks of channels"),
    ("motion_layers_per_block", "layers_per_block", "layers per block"),
    ("motion_norm_num_groups", "norm_num_groups", "groups of normalisation"),
)
"""Setting of the adapter, setting of the UNet, and words for it."""
_RENAMED = ("attention_head_dim",)
"""Settings of an image UNet that a video UNet has under another name."""

"""AnimateDiff on Stable Diffusion 1.5 or XL: an image UNet with motion modules, which attend over the frames of a clip.

Latents are ``(B, C, F, h, w)``. The network folds frames into the batch, the frame being the fast index, and repeats
the embedding of time itself; **the states of prompts are the caller's to repeat**, each row ``F`` times in a row
(tiling the batch would have the same shape and give frames another clip's prompt). The pooled state and size ids of XL
are added to the embedding of time before it is repeated, so they stay one per clip.

Guo et al. 2023 (arXiv 2307.04725). The motion modules were trained at linear betas, 0.00085 to 0.012, whatever the
image model's own are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diffalign.latents.schedule import Schedule
from diffalign.policies.diffusion.families import sd, sdxl, unet
from diffalign.policies.diffusion.families.autoencoder_kl import FramewiseCodec
from diffalign.policies.diffusion.families.family import Family, Network, SamplingDefaults

OMITTED = {"motion_adapter": None, "image_encoder": None, "feature_extractor": None}
MOTION = "motion_modules"


def spread(conditioning: Mapping[str, Tensor], frames: int) -> dict[str, Tensor]:
    """Returns conditioning whose states of prompts are repeated for each frame, ``(B F, length, width)``."""
    states = conditioning["encoder_hidden_states"].repeat_interleave(frames, dim=0)
    return {**conditioning, "encoder_hidden_states": states}


def call(network: Network, x: Tensor, time: Tensor, conditioning: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """Returns the output of a UNet with one text encoder."""
    return sd.call(network, x, time, spread(conditioning, x.shape[2]), dtype)


def call_xl(
    network: Network, x: Tensor, time: Tensor, conditioning: Mapping[str, Tensor], dtype: torch.dtype
) -> Tensor:
    """Returns the output of a UNet with two text encoders, a pooled state and size ids."""
    return sdxl.call(network, x, time, spread(conditioning, x.shape[2]), dtype)


def most_frames(config: Mapping[str, Any]) -> int:
    """Returns the number of positions that the motion modules know."""
    return int(config.get("motion_max_seq_length") or 32)


SHARED: dict[str, Any] = {
    "network": "UNetMotionModel",
    "component": "unet",
    "omitted": OMITTED,
    "medium": "video",
    "codec": FramewiseCodec(),
    "schedule": lambda config, resolution: Schedule.from_config(config),
    "resolution_step": unet.resolution_step,
    "adapter_layers": unet.video_layers(MOTION),
    "sampling": SamplingDefaults(steps=25, guidance=7.5),
    "motion": (MOTION,),
    "most_frames": most_frames,
    # Called by the name `input`, which peft's layers do not take.
    "unadaptable": (f"{MOTION}...proj_in", f"{MOTION}...proj_out"),
    "checkpointed": ("AnimateDiffTransformer3D",),
}
"""What both rows have in common."""

ANIMATEDIFF = Family(
    pipeline="AnimateDiffPipeline",
    base="StableDiffusionPipeline",
    text_encoders=("text_encoder",),
    call=call,
    prompt_encoder=sd.StableDiffusionPrompts,
    size_conditioning=lambda original, size, fixed: {},
    **SHARED,
)

ANIMATEDIFF_XL = Family(
    pipeline="AnimateDiffSDXLPipeline",
    base="StableDiffusionXLPipeline",
    text_encoders=("text_encoder", "text_encoder_2"),
    call=call_xl,
    prompt_encoder=sdxl.StableDiffusionXLPrompts,
    size_conditioning=sdxl.size_ids,
    **SHARED,
)

"""Stable Diffusion 1.x and 2.x: a UNet, and one CLIP text encoder with its last normalised states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.latents.schedule import Schedule
from diffalign.policies.diffusion.families import unet
from diffalign.policies.diffusion.families.autoencoder_kl import AutoencoderKLCodec
from diffalign.policies.diffusion.families.clip_tokens import token_ids
from diffalign.policies.diffusion.families.family import Family, Network, SamplingDefaults


class StableDiffusionPrompts:
    """Encodes prompts as ``encoder_hidden_states (B, length, width)``. The empty prompt is encoded like any other.

    Args:
        pipeline: A ``StableDiffusionPipeline``; only tokenizer and text encoder are kept.
    """

    identity = "StableDiffusionPrompts"

    def __init__(self, pipeline: Any) -> None:
        self.tokenizers = [pipeline.tokenizer]
        self.modules = [pipeline.text_encoder]

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Returns the states of prompts."""
        encoder = self.modules[0]
        return {"encoder_hidden_states": encoder(token_ids(self.tokenizers[0], prompts, encoder.device))[0]}

    def empty(self) -> dict[str, Tensor]:
        """Returns the states of ``""``."""
        return self.encode([""])


def call(network: Network, x: Tensor, time: Tensor, conditioning: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """Returns the UNet's output."""
    states = conditioning["encoder_hidden_states"].to(dtype)
    return network(x.to(dtype), time, encoder_hidden_states=states, return_dict=False)[0]


STABLE_DIFFUSION = Family(
    pipeline="StableDiffusionPipeline",
    network="UNet2DConditionModel",
    component="unet",
    text_encoders=("text_encoder",),
    omitted={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    medium="image",
    call=call,
    prompt_encoder=StableDiffusionPrompts,
    size_conditioning=lambda original, size, fixed: {},
    codec=AutoencoderKLCodec(),
    schedule=lambda config, resolution: Schedule.from_config(config),
    resolution_step=unet.resolution_step,
    adapter_layers=unet.ADAPTER_LAYERS,
    sampling=SamplingDefaults(steps=30, guidance=7.5),
)

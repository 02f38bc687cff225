"""Stable Diffusion XL: a UNet with two text encoders, a pooled state, and size ids.

The states are the penultimate layers of both encoders, concatenated; the pooled state is the second encoder's. Size ids
are ``(height, width, top, left, target height, target width)``. Podell et al. 2023 (arXiv 2307.01952), section 2.2.
"""

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


class StableDiffusionXLPrompts:
    """Encodes prompts as ``encoder_hidden_states (B, length, width)`` and ``text_embeds (B, pooled)``.

    The unconditional branch is all zeros where the pipeline's ``force_zeros_for_empty_prompt`` is set. (The released
    Diffusion-DPO code encodes ``""`` in training, a branch that the stock pipeline never uses.)

    Args:
        pipeline: A ``StableDiffusionXLPipeline``; only tokenizers and text encoders are kept.
    """

    def __init__(self, pipeline: Any) -> None:
        self.tokenizers = [pipeline.tokenizer, pipeline.tokenizer_2]
        self.modules = [pipeline.text_encoder, pipeline.text_encoder_2]
        self.force_zeros = bool(pipeline.config.force_zeros_for_empty_prompt)
        self.identity = f"StableDiffusionXLPrompts{self.force_zeros}"

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Returns states and pooled states of prompts."""
        states = []
        for tokenizer, encoder in zip(self.tokenizers, self.modules, strict=True):
            output = encoder(token_ids(tokenizer, prompts, encoder.device), output_hidden_states=True)
            states.append(output.hidden_states[-2])
        return {"encoder_hidden_states": torch.cat(states, dim=-1), "text_embeds": output.text_embeds}

    def empty(self) -> dict[str, Tensor]:
        """Returns zeros or the states of ``""``, as the pipeline's configuration has it."""
        states = self.encode([""])
        return {name: torch.zeros_like(value) for name, value in states.items()} if self.force_zeros else states


def size_ids(original: Tensor, size: tuple[int, int], fixed: bool) -> dict[str, Tensor]:
    """Returns ``time_ids (B, 6)``: original height and width, top and left of the crop, height and width of the pixels;
    with ``fixed`` those of uncropped images of that size.
    """
    target = torch.tensor(size, device=original.device).expand(len(original), 2)
    if fixed:
        original = torch.cat([target, torch.zeros_like(target)], dim=1)
    return {"time_ids": torch.cat([original, target], dim=1).float()}


def call(network: Network, x: Tensor, time: Tensor, conditioning: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """Returns the UNet's output; pooled state and size ids are its added conditions."""
    states = conditioning["encoder_hidden_states"].to(dtype)
    added = {name: conditioning[name].to(dtype) for name in ("text_embeds", "time_ids")}
    return network(x.to(dtype), time, encoder_hidden_states=states, added_cond_kwargs=added, return_dict=False)[0]


STABLE_DIFFUSION_XL = Family(
    pipeline="StableDiffusionXLPipeline",
    network="UNet2DConditionModel",
    component="unet",
    text_encoders=("text_encoder", "text_encoder_2"),
    omitted={},
    medium="image",
    call=call,
    prompt_encoder=StableDiffusionXLPrompts,
    size_conditioning=size_ids,
    codec=AutoencoderKLCodec(),
    schedule=lambda config, resolution: Schedule.from_config(config),
    resolution_step=unet.resolution_step,
    adapter_layers=unet.ADAPTER_LAYERS,
    sampling=SamplingDefaults(steps=30, guidance=7.5),
)

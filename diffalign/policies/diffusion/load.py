"""Loads a policy of images or clips from a folder or a hub name, with errors that state what to type instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffalign.devices.block_offload import offload_blocks
from diffalign.devices.device_memory import best_device
from diffalign.devices.quantized_linear import quantize_linear_layers
from diffalign.errors import ConfigError
from diffalign.files.weightless import opens_without_weights
from diffalign.latents import LATENTS
from diffalign.policies.adapters import AdapterConfig, add_adapter
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.encoding.pair_sizes import PairSizes
from diffalign.policies.diffusion.model_folder import find_model
from diffalign.policies.diffusion.policy import DenoiserPolicy
from diffalign.policies.diffusion.scoring.attention import choose_attention, split_rows
from diffalign.policies.diffusion.scoring.checkpointing import checkpoint_layers, checkpointed_blocks
from diffalign.policies.diffusion.scoring.denoiser_scoring import Denoiser
from diffalign.policies.diffusion.video_config import VideoModelConfig, trains_motion
from diffalign.policies.module_utils import below, disable_dropout, weights_digest
from diffalign.sharing.public_name import public_name
from diffalign.sharing.read_adapter import adaptable_layers, read_adapter
from diffalign.sharing.shared_adapter import SharedAdapter, check_layers

__all__ = ["AdapterConfig", "ModelConfig", "VideoModelConfig", "load_aligned", "load_policy"]


def load_policy(config: ModelConfig, device: torch.device | str | None = None) -> DenoiserPolicy:
    """Loads a text-to-image or text-to-video model, puts a fresh adapter on it (or unfreezes all of it), and gives it a
    reference.

    Args:
        config: The model, and how it is trained and scored.
        device: None takes the accelerator if there is one.

    Raises:
        ConfigError: No such folder or name, not a diffusers folder, an unknown family, a missing or incomplete part.
    """
    return _load(config, device, None)


def _load(config: ModelConfig, device: torch.device | str | None, shared: SharedAdapter | None) -> DenoiserPolicy:
    """Loads a policy; the adapter that it will get must fit the network."""
    config.check_offload()
    device = torch.device(device or ("cpu" if opens_without_weights() else best_device()))
    family, source = find_model(config)
    frozen = FrozenComponents(family, source, getattr(torch, config.dtype), device, config.encode_batch)
    dtype = torch.float32 if config.adapter is None else getattr(torch, config.dtype)

    digests: list[str] = []  # of the weights before they are packed

    def load_network() -> nn.Module:
        network = family.load_network(source, dtype)
        digests.append(weights_digest([network]))
        if config.quantize is not None:
            quantize_linear_layers(network, config.quantize)
        if config.channels_last:
            network.to(memory_format=torch.channels_last)
        choose_attention(network, device)
        split_rows(network, family.motion)
        disable_dropout(network)
        return network.requires_grad_(False).eval()

    def load_base() -> nn.Module:
        return load_network().to(device)

    network: Any = load_network()  # in host memory, until encoding has made room
    if shared is not None:
        check_layers(adaptable_layers(network), shared, public_name(config.path))
    if config.adapter is not None:
        add_adapter(network, config.adapter, family.adapter_layers, family.unadaptable)
    else:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not trains_motion(config) or below(name, family.motion))
    if config.offload is not None:  # before checkpoints, which run a block again with the weights that it fetches
        offload_blocks(checkpointed_blocks(network, family.blocks, family.own_checkpointing), device)
    if config.gradient_checkpointing:
        if family.own_checkpointing:
            network.enable_gradient_checkpointing()
        checkpoint_layers(network, family.checkpointed)
    network.eval()  # the adapter's layers too
    resolution = config.resolution or int(network.config.sample_size) * frozen.pixels_per_latent
    step = family.resolution_step(network.config, frozen.pixels_per_latent)
    _check_resolution(resolution, step)
    sizes = PairSizes(resolution, _bucket_step(config, resolution, step), config.buckets, family.medium)
    denoiser = Denoiser(
        schedule=family.schedule(frozen.scheduler_config, resolution),
        estimate=LATENTS[config.latents.name].bind(**config.latents.hyper),
        scale=frozen.scale.to(device),
        caption_dropout=config.caption_dropout,
        flip=config.flip,
        low=config.level_range[0],
        high=config.level_range[1],
        listed=config.level_list,
        reduction=config.reduction,
    )
    return DenoiserPolicy(network, frozen, denoiser, config, resolution, sizes, load_base, digests[0])


def load_aligned(config: ModelConfig, adapter: Path, device: torch.device | str | None = None) -> DenoiserPolicy:
    """Loads the policy of ``config`` with a shared adapter file on it; rank and layers are taken from the file."""
    shared = read_adapter(adapter)
    shape = shared.shape
    from_file = AdapterConfig(rank=shape.rank, targets=shape.targets, dora=shape.dora)
    policy = _load(config.model_copy(update={"adapter": from_file}), device, shared)
    policy.load_adapter(shared)
    return policy


def _bucket_step(config: ModelConfig, resolution: int, step: int) -> int:
    """Returns the step of the sides of buckets. Raises ConfigError for one that network or square do not take."""
    wanted = config.buckets.step if config.buckets is not None else None
    if wanted is not None and (wanted % step or resolution % wanted):
        raise ConfigError(
            f"model.buckets.step is {wanted} px, but this network takes multiples of {step}, which have to divide "
            f"model.resolution {resolution}. Type: --set model.buckets.step={step}"
        )
    return wanted or step


def _check_resolution(resolution: int, step: int) -> None:
    if resolution % step:
        nearest = max(step, round(resolution / step) * step)
        raise ConfigError(
            f"resolution must be a multiple of {step} px for this model, got {resolution}. Try {nearest}."
        )

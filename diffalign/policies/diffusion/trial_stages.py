"""What encoding and sampling compute, on tensors without a meaning, so that a plan can follow them before they run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.sampling.sample import BATCH
from diffalign.policies.diffusion.scoring.denoiser_scoring import Denoiser
from diffalign.policies.diffusion.scoring.trial_inputs import trial_inputs
from diffalign.policies.module_utils import unwrap
from diffalign.policies.policy import TrialStage

ENCODERS = ("text encoders", "autoencoder")


def encode_stage(frozen: FrozenComponents, config: ModelConfig, resolution: int, frames: int | None) -> TrialStage:
    """Returns the encoding of a batch of images, in all views, or of one clip."""
    views = 1 if config.flip == "none" else 2
    count = config.encode_batch if frames is None else 1
    shape = (3, resolution, resolution) if frames is None else (3, frames, resolution, resolution)

    def run(_: torch.nn.Module) -> object:
        decoded = torch.zeros(count * views, *shape)  # one by one in host memory, where they are then put together
        pixels = decoded.clone().to(frozen.device)
        return decoded, frozen.prompt_encoder().empty(), frozen.posterior(pixels)

    many = (
        f"{count} image{'s' if count > 1 else ''}"
        if frames is None
        else f"a clip, {min(config.encode_batch, frames)} frames"
    )
    return TrialStage(ENCODERS, many + (", mirrored too" if views == 2 else ""), run)


def sample_stage(
    frozen: FrozenComponents,
    denoiser: Denoiser,
    network: torch.nn.Module,
    resolution: int,
    shape: Sequence[int],
    samples: int,
    settings: Mapping[str, Any],
) -> TrialStage:
    """Returns one denoising step of a batch of samples, with guidance where there is any, and its decoding."""
    count = min(samples, settings.get("batch") or BATCH)
    guidance = settings.get("guidance")
    guided = (frozen.family.sampling.guidance if guidance is None else guidance) > 1
    side = settings.get("resolution") or resolution
    shape = (*shape[:-2], *(side * length // resolution for length in shape[-2:]))
    inputs = trial_inputs(frozen, denoiser.schedule, side, shape, count, 2 if guided else 1)
    dtype = next(unwrap(network).parameters()).dtype

    def run(twin: torch.nn.Module) -> object:
        arguments = inputs.x_t, inputs.time, inputs.conditioning, dtype
        latents = frozen.family.call(twin, *arguments)[:count].float()
        return frozen.decode(latents)

    noun = "clip" if frozen.family.medium == "video" else "image"
    return TrialStage(("network", *ENCODERS), f"{count} {noun}{'s' if count > 1 else ''}", run)

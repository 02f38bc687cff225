"""Sampling with the stock pipeline of a family: users of diffusers get the same images and clips.

Each sample has its own seed; its noise comes from a CPU generator with that seed, as in
``pipeline(prompt, generator=torch.Generator("cpu").manual_seed(seed))``, whatever the batch and the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from diffalign.devices.halving import Pieces
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.sampling.decode import BATCH, decode_samples
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts


class ImageSampling(BaseModel):
    """Settings of the images and clips that people and judges see.

    Args:
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance; 1 or less switches it off.
        negative_prompt: Empty: the model's own unconditional branch.
        eta: Noise of DDIM.
        sampler: ``"own"`` is the model's scheduler, ``"ddim"`` replaces it by DDIM.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=30, ge=1)
    guidance: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    negative_prompt: str = ""
    eta: float = Field(default=0.0, ge=0, le=1)
    sampler: Literal["own", "ddim"] = "own"


class ClipSampling(ImageSampling):
    """Settings of clips: those of images. Their number of frames is the model's, `model.clip`.

    Args:
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance; 1 or less switches it off.
    """

    steps: int = Field(default=25, ge=1)
    guidance: float = Field(default=7.5, ge=0, allow_inf_nan=False)


@torch.no_grad()
def sample(
    frozen: FrozenComponents,
    network: nn.Module,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    resolution: int,
    frames: int | None = None,
    fps: float = 8.0,
    steps: int | None = None,
    guidance: float | None = None,
    negative_prompt: str = "",
    eta: float = 0.0,
    sampler: str = "own",
    latents_only: bool = False,
    batch: int = BATCH,
    count: ForwardCounts | None = None,
) -> list[Any]:
    """Returns images (PIL) or clips, or latents ``(C, h, w)`` or ``(C, F, h, w)`` on the CPU, one per prompt.

    Args:
        frozen: The components around the network; they are loaded for this call where they are not loaded.
        network: The denoiser. Its mode (train or eval) is kept.
        prompts: One per image.
        seeds: One per image.
        resolution: Side, px.
        frames: Frames of a clip; None: images.
        fps: Frames per second of a clip.
        steps: Denoising steps; None: the family's default.
        guidance: Scale of classifier-free guidance; 1 or less switches it off. None: the family's default.
        negative_prompt: Empty: the model's own unconditional branch.
        eta: Noise of DDIM, 0 to 1.
        sampler: ``"own"`` is the model's scheduler, ``"ddim"`` replaces it by DDIM.
        latents_only: Leave out decoding.
        batch: Samples at a time.
        count: Receives the number of latents that the network evaluated.
    """
    if len(prompts) != len(seeds):
        raise ConfigError(f"one seed per prompt is needed; got {len(prompts)} prompts and {len(seeds)} seeds")
    mode = network.training
    family = frozen.family

    def add_count(module: nn.Module, args: tuple[Any, ...]) -> None:
        if count is not None:
            count.sampling += len(args[0])

    with frozen.kept_loaded() as pipeline:
        own_scheduler = pipeline.scheduler
        hook = network.register_forward_pre_hook(add_count)
        try:
            network.eval()
            setattr(pipeline, family.component, network)
            pipeline.scheduler = _scheduler(own_scheduler, sampler)
            pipeline.set_progress_bar_config(disable=True)
            length = {} if frames is None else {"num_frames": frames}

            def draw(part: list[tuple[str, int]]) -> list[Any]:
                output = pipeline(
                    **length,
                    prompt=[prompt for prompt, _ in part],
                    negative_prompt=[negative_prompt] * len(part) if negative_prompt else None,
                    height=resolution,
                    width=resolution,
                    num_inference_steps=family.sampling.steps if steps is None else steps,
                    guidance_scale=family.sampling.guidance if guidance is None else guidance,
                    eta=eta,
                    generator=[torch.Generator("cpu").manual_seed(seed) for _, seed in part],
                    output_type="latent",
                )
                latents = output.images if frames is None else output.frames
                if latents_only:
                    return list(latents.float().cpu())
                return decode_samples(frozen, list(latents), fps, batch)

            pieces = Pieces(f"{family.medium}s are sampled", batch)
            return list(pieces.each(zip(prompts, seeds, strict=True), draw))
        finally:
            hook.remove()
            setattr(pipeline, family.component, None)
            pipeline.scheduler = own_scheduler
            network.train(mode)


def _scheduler(own_scheduler: Any, sampler: str) -> Any:
    if sampler == "own":
        return own_scheduler
    if sampler == "ddim":
        from diffusers import DDIMScheduler

        return DDIMScheduler.from_config(own_scheduler.config, clip_sample=False)
    raise ConfigError(f"sampler is 'own' or 'ddim', got {sampler!r}")

"""Sampling with the stock pipeline of a family: what is drawn here is what users of diffusers will see.

Each image has a seed of its own; its noise comes from a CPU generator with that seed, as in
``pipeline(prompt, generator=torch.Generator("cpu").manual_seed(seed))``, whatever the batch and the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from diffalign.errors import ConfigError
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.scoring.forward_counts import ForwardCounts

BATCH = 8


class ImageSampling(BaseModel):
    """How images are drawn for people and judges.

    Args:
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance; 1 or less switches it off.
        negative_prompt: Empty: the model's own unconditional branch.
        eta: Noise of DDIM.
        sampler: ``"own"`` is the model's scheduler, ``"ddim"`` replaces it by DDIM.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=30, ge=1)
    guidance: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    negative_prompt: str = ""
    eta: float = Field(default=0.0, ge=0, le=1)
    sampler: Literal["own", "ddim"] = "own"


@torch.no_grad()
def sample(
    frozen: FrozenComponents,
    network: nn.Module,
    prompts: Sequence[str],
    seeds: Sequence[int],
    *,
    resolution: int,
    steps: int = 30,
    guidance: float = 7.5,
    negative_prompt: str = "",
    eta: float = 0.0,
    sampler: str = "own",
    latents_only: bool = False,
    batch: int = BATCH,
    count: ForwardCounts | None = None,
) -> list[Any]:
    """Images (PIL), or latents ``(C, h, w)`` on the CPU, one per prompt.

    Args:
        frozen: The parts around the network; they are loaded for the occasion if they are away.
        network: The denoiser. Its mode (train or eval) is kept.
        prompts: One per image.
        seeds: One per image.
        resolution: Side, px.
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance; 1 or less switches it off.
        negative_prompt: Empty: the model's own unconditional branch.
        eta: Noise of DDIM, 0 to 1.
        sampler: ``"own"`` is the model's scheduler, ``"ddim"`` replaces it by DDIM.
        latents_only: Leave out decoding.
        batch: Images at a time.
        count: Told how many latents the network evaluated.
    """
    if len(prompts) != len(seeds):
        raise ConfigError(f"one seed per prompt is needed; got {len(prompts)} prompts and {len(seeds)} seeds")
    mode = network.training

    def counted(module: nn.Module, args: tuple[Any, ...]) -> None:
        if count is not None:
            count.sampling += len(args[0])

    with frozen.visiting() as pipeline:
        own = pipeline.scheduler
        hook = network.register_forward_pre_hook(counted)
        try:
            network.eval()
            pipeline.unet = network
            pipeline.scheduler = _scheduler(own, sampler)
            pipeline.set_progress_bar_config(disable=True)
            results: list[Any] = []
            for start in range(0, len(prompts), batch):
                latents = pipeline(
                    prompt=list(prompts[start : start + batch]),
                    negative_prompt=[negative_prompt] * len(prompts[start : start + batch])
                    if negative_prompt
                    else None,
                    height=resolution,
                    width=resolution,
                    num_inference_steps=steps,
                    guidance_scale=guidance,
                    eta=eta,
                    generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds[start : start + batch]],
                    output_type="latent",
                ).images
                if latents_only:
                    results += list(latents.float().cpu())
                else:
                    results += pipeline.image_processor.postprocess(frozen.decode(latents).float(), output_type="pil")
            return results
        finally:
            hook.remove()
            pipeline.unet = None
            pipeline.scheduler = own
            network.train(mode)


def _scheduler(own: Any, sampler: str) -> Any:
    if sampler == "own":
        return own
    if sampler == "ddim":
        from diffusers import DDIMScheduler

        return DDIMScheduler.from_config(own.config, clip_sample=False)
    raise ConfigError(f"sampler is 'own' or 'ddim', got {sampler!r}")

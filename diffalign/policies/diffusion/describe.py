"""Lines of a run's header about a denoiser: its clips and the weights that train."""

from __future__ import annotations

from diffalign.policies.adapters import EVERYTHING, LINEAR
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.families import Family
from diffalign.policies.diffusion.video_config import VideoModelConfig, trains_motion


def describe_clips(config: ModelConfig, frozen: FrozenComponents, elements: int) -> dict[str, str]:
    """Returns the rows of a video model: motion adapter, clips, schedule; none of an image model.

    Args:
        config: The model's section of the recipe.
        frozen: The components around the network.
        elements: Numbers in a latent.
    """
    if not isinstance(config, VideoModelConfig):
        return {}
    clip, scheduler = config.clip, frozen.scheduler_config
    source = frozen.source
    own = [part for part in ("tokenizer", "text_encoder", "scheduler") if source.holder(part) == source.motion]
    parts = f", with its own {' and '.join(own)}" if own else ""
    motion = {"motion": f"{config.motion}{parts}"} if config.motion is not None else {}
    frames = f"{clip.frames} frames at {clip.fps:g} fps, taken by {clip.rule}; {elements:,} numbers in a latent"
    betas = "".join(f", {scheduler[name]:g}" for name in ("beta_start", "beta_end") if name in scheduler)
    schedule = f"{scheduler.get('beta_schedule', 'levels')}{betas} ({source.describe_betas()})"
    return {**motion, "clip": frames, "schedule": schedule}


def describe_trained(config: ModelConfig, family: Family) -> str:
    """Returns the weights that train, in words."""
    if trains_motion(config):
        return f"every weight of the layers that join frames ({', '.join(family.motion)})"
    if config.adapter is None:
        return "every weight of the denoiser"
    left_out = config.adapter.targets in (LINEAR, EVERYTHING) and family.unadaptable
    names = " and ".join(name.replace("...", " ") for name in family.unadaptable)
    return config.adapter.describe() + (f", without {names}, which no program can load" if left_out else "")

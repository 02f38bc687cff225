"""Tiny random video pipelines in diffusers' own folder format, a motion adapter for `tiny.tiny_sd`, and clips.

Resolution 16 px, latents ``(4, F, 8, 8)``, at most 8 frames. Equal seeds give equal weights.
"""

from __future__ import annotations

from pathlib import Path

import torch

from tests.tiny import SCHEDULER, UNET, WIDTH, lively, tiny_sd, tiny_sdxl, tiny_text_encoder, tiny_tokenizer, tiny_vae

FRAMES = 3
FPS = 8.0
MOST_FRAMES = 8
ADAPTER = {
    "block_out_channels": (8, 16),
    "motion_layers_per_block": 1,
    "motion_mid_block_layers_per_block": 1,
    "motion_num_attention_heads": 2,
    "motion_norm_num_groups": 4,
    "motion_max_seq_length": MOST_FRAMES,
    "use_motion_mid_block": True,
}


def tiny_motion(folder: Path, *, seed: int = 0, **settings) -> Path:
    """A motion adapter for `tiny_sd` and `tiny_sdxl`; keywords replace settings."""
    from diffusers import MotionAdapter

    with torch.random.fork_rng():
        torch.manual_seed(100 + seed)
        adapter = MotionAdapter(**{**ADAPTER, **settings})
    for name, parameter in adapter.named_parameters():
        if name.endswith("to_v.weight") or "proj_out.weight" in name:
            parameter.data.mul_(3.0)  # frames must answer to each other
    adapter.save_pretrained(folder)
    return Path(folder)


def _whole(make_image, pipeline: str, folder: Path, seed: int, **unet) -> Path:
    import diffusers

    from diffalign.policies.diffusion.families.load_parts import dtype_keyword

    image = make_image(folder / "image", seed=seed, **unet)
    adapter = diffusers.MotionAdapter.from_pretrained(tiny_motion(folder / "motion", seed=seed))
    whole = getattr(diffusers, pipeline).from_pretrained(image, motion_adapter=adapter, **dtype_keyword(torch.float32))
    whole.save_pretrained(folder / "whole")
    return folder / "whole"


def tiny_animatediff(folder: Path, *, seed: int = 0, **unet) -> Path:
    """A whole AnimateDiff pipeline; the image pipeline and the adapter that it is made of lie beside it."""
    return _whole(tiny_sd, "AnimateDiffPipeline", folder, seed, **unet)


def tiny_animatediff_sdxl(folder: Path, *, seed: int = 0, **unet) -> Path:
    """The same of Stable Diffusion XL."""
    return _whole(tiny_sdxl, "AnimateDiffSDXLPipeline", folder, seed, **unet)


def tiny_modelscope(folder: Path, *, seed: int = 0, **unet) -> Path:
    """A text-to-video pipeline with a UNet3DConditionModel, whose last temporal convolutions are not zero."""
    from diffusers import DDIMScheduler, TextToVideoSDPipeline, UNet3DConditionModel

    blocks = {
        "down_block_types": ("DownBlock3D", "CrossAttnDownBlock3D"),
        "up_block_types": ("CrossAttnUpBlock3D", "UpBlock3D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = lively(UNet3DConditionModel(**{**UNET, **blocks, **unet}))
        for name, parameter in network.named_parameters():
            if ".conv4.3." in name:
                parameter.data.normal_(std=0.1)
        pipeline = TextToVideoSDPipeline(
            vae=tiny_vae(),
            text_encoder=tiny_text_encoder(),
            tokenizer=tiny_tokenizer(),
            unet=network,
            scheduler=DDIMScheduler(**SCHEDULER),
        )
    pipeline.save_pretrained(folder)
    return Path(folder)


def tiny_clips(folder: Path, count: int, *, frames: int = FRAMES, seed: int = 0) -> list[Path]:
    """Clips of coarse noise in ``folder``, no two frames alike."""
    import numpy as np

    from diffalign.data.media.clips.clip import Clip
    from diffalign.data.media.clips.write_clip import write_clip

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f"{i}.webp" for i in range(count)]
    for path in paths:
        write_clip(path, Clip(rng.integers(0, 255, (frames, 20, 24, 3), dtype=np.uint8), FPS))
    return paths


def tiny_clip_pairs(folder: Path, count: int = 4, *, frames: int = FRAMES, seed: int = 0):
    """Pairs of such clips, two prompts in turn."""
    from diffalign.data.records.pair import Pair

    paths = tiny_clips(folder, 2 * count, frames=frames, seed=seed)
    prompts = ("a fox", "two red apples")
    return [
        Pair(id=f"pair{i}", prompt=prompts[i % 2], chosen=paths[2 * i], rejected=paths[2 * i + 1]) for i in range(count)
    ]

"""Loads the embedded video model as an unmodified `AnimateDiffPipeline` and samples clips."""

from pathlib import Path

import numpy as np
import torch

from pipelines.embedded import word_tokenizer
from pipelines.embedded_motion import clips, motions

STEPS, GUIDANCE = 15, 2.0  # recommended sampling


def load_pipeline(image_model: Path, motion: Path):
    """Returns the pipeline: the image model's U-Net and autoencoder, the adapter, and the text encoder beside it."""
    from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel
    from transformers import CLIPTextModel

    full = {"torch_dtype": torch.float32}
    pipe = AnimateDiffPipeline(
        vae=AutoencoderKL.from_pretrained(image_model / "vae", **full),
        unet=UNet2DConditionModel.from_pretrained(image_model / "unet", **full),
        text_encoder=CLIPTextModel.from_pretrained(motion / "text_encoder", **full),
        tokenizer=word_tokenizer.load(motion / "tokenizer"),
        motion_adapter=MotionAdapter.from_pretrained(motion, **full),
        scheduler=DDIMScheduler.from_pretrained(motion / "scheduler"),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def sample(pipe, prompts: list[str], seeds: list[int], guidance: float = GUIDANCE, steps: int = STEPS) -> np.ndarray:
    """Returns one clip for each prompt and seed, ``(N, F, 64, 64, 3)`` uint8; a clip depends on its own seed only."""
    parts = []
    for i in range(0, len(prompts), 12):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[i : i + 12]]
        options = {"num_inference_steps": steps, "guidance_scale": guidance, "generator": generators}
        with clips.autocast():
            latents = pipe(
                prompts[i : i + 12], num_frames=motions.FRAMES, height=64, width=64, output_type="latent", **options
            ).frames
        parts.append(clips.decode(pipe.vae, latents))
    return np.concatenate(parts)

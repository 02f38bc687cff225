"""Tiny random pipelines in diffusers' own folder format: every part real, a few thousand parameters each.

Resolution 16 px, latents ``(4, 8, 8)``, prompts of at most 24 characters (one token per character). Equal seeds give
equal weights.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

RESOLUTION = 16
LENGTH = 26  # tokens, the start and the end included
WIDTH = 16  # of a text encoder

UNET = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "layers_per_block": 1,
    "block_out_channels": (8, 16),
    "norm_num_groups": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 2,
}
SCHEDULER = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}


def tiny_tokenizer():
    """A CLIPTokenizer whose words fall into printable ASCII characters: no vocabulary to learn."""
    from transformers import CLIPTokenizer

    # From files, as the published ones are: transformers 4 reads nothing else.
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokens = ["<|startoftext|>", "<|endoftext|>", *characters, *(character + "</w>" for character in characters)]
    with TemporaryDirectory() as folder:
        Path(folder, "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
        Path(folder, "merges.txt").write_text("#version: 0.2\n")
        return CLIPTokenizer.from_pretrained(folder, model_max_length=LENGTH)


def tiny_text_encoder(projection: bool = False):
    """A CLIP text model of two layers; with ``projection`` the second encoder of Stable Diffusion XL."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tiny_tokenizer()),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        projection_dim=WIDTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_factor=5.0,  # prompts that differ must give states that differ
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def tiny_vae():
    """An AutoencoderKL that halves each side."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        sample_size=RESOLUTION,
        block_out_channels=(4, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        mid_block_add_attention=False,
    ).eval()


def tiny_sd(folder: Path, *, seed: int = 0, scheduler=None, **unet) -> Path:
    """A Stable Diffusion pipeline in ``folder``; ``scheduler`` and keywords replace values of the configurations of the
    scheduler and of the UNet."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = StableDiffusionPipeline(
            vae=tiny_vae(),
            text_encoder=tiny_text_encoder(),
            tokenizer=tiny_tokenizer(),
            unet=lively(UNet2DConditionModel(**{**UNET, "cross_attention_dim": WIDTH, **unet})),
            scheduler=DDIMScheduler(**{**SCHEDULER, **(scheduler or {})}),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)
    return Path(folder)


def tiny_sdxl(folder: Path, *, seed: int = 0, force_zeros: bool = True, **unet) -> Path:
    """A Stable Diffusion XL pipeline in ``folder``: two text encoders, pooled states and time ids."""
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 6 * 4 + WIDTH,
        "cross_attention_dim": 2 * WIDTH,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        pipeline = StableDiffusionXLPipeline(
            vae=tiny_vae(),
            text_encoder=tiny_text_encoder(),
            text_encoder_2=tiny_text_encoder(projection=True),
            tokenizer=tiny_tokenizer(),
            tokenizer_2=tiny_tokenizer(),
            unet=lively(UNet2DConditionModel(**{**UNET, **added, **unet})),
            scheduler=DDIMScheduler(**SCHEDULER),
            force_zeros_for_empty_prompt=force_zeros,
            add_watermarker=False,
        )
    pipeline.save_pretrained(folder)
    return Path(folder)


def lively(unet):
    """Larger cross-attention, so that a random network answers to its prompt."""
    for name, parameter in unet.named_parameters():
        if "attn2" in name and name.endswith("weight"):
            parameter.data.mul_(3.0)
    return unet.eval()


def tiny_pairs(folder: Path, count: int = 4, *, seed: int = 0):
    """Pairs of small noise images in ``folder``, two prompts in turn."""
    import numpy as np
    from PIL import Image

    from diffalign.data.records.pair import Pair

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f"{i}.png" for i in range(2 * count)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
    prompts = ("a fox", "two red apples")
    return [
        Pair(id=f"pair{i}", prompt=prompts[i % 2], chosen=paths[2 * i], rejected=paths[2 * i + 1]) for i in range(count)
    ]

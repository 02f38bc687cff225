"""Setting of the image benchmarks: a Stable Diffusion with random weights, pairs of random images, and a recipe.

A denoiser of 24 M weights with two heads per attention, 256 px images (latents 32 x 32).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SIDE = 256
TOKENIZER = Path(__file__).parents[1] / "assets" / "emoji" / "model" / "tokenizer"


def make_model(folder: Path) -> None:
    """Writes a Stable Diffusion with random weights."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        projection_dim=256,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(64, 128, 256, 256),
        layers_per_block=1,
        cross_attention_dim=256,
        attention_head_dim=2,  # in diffusers this is the number of heads
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 64, 128, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        layers_per_block=1,
        sample_size=SIDE,
    )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False
    )
    StableDiffusionPipeline(
        vae, CLIPTextModel(text), tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    ).save_pretrained(folder)


def make_pairs(folder: Path, count: int) -> None:
    """Writes pairs of smooth random images."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    rows = []
    for number in range(count):
        row = {"prompt": f"a flat drawing of {number} things"}
        for role in ("chosen", "rejected"):
            row[f"{role}_file_name"] = f"{number}-{role}.png"
            small = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / row[f"{role}_file_name"])
        rows.append(row)
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_recipe(root: Path, batch: int, *, model: Mapping[str, Any], train: Mapping[str, Any], **sections: Any) -> Any:
    """Returns a recipe with ``root/model`` of :func:`make_model` and ``root/pairs`` of :func:`make_pairs`.

    It trains every weight, without caption dropout, flips and checkpoints.

    Args:
        root: Folder of model and pairs.
        batch: Pairs per optimizer step.
        model: Values that replace those of the model's section.
        train: Values that replace those of the optimizer's section.
        sections: Further sections, such as ``loss``.
    """
    from diffalign.training.recipe.load import make_recipe as load_values

    defaults = {
        "path": str(root / "model"),
        "resolution": SIDE,
        "caption_dropout": 0.0,
        "flip": "none",
        "adapter": None,
        "cache": str(root / "cache"),
    }
    return load_values(
        {
            "model": {**defaults, **model},
            "data": {"train": str(root / "pairs")},
            "train": {"steps": 1000, "batch_size": batch, "learning_rate": 1e-5, **train},
            "checkpoint": {"every": 0},
            "output": tempfile.mkdtemp(dir=root),
            **sections,
        }
    )

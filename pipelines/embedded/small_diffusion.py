"""The embedded Stable Diffusion: its parts, an unmodified pipeline of them, and its folder."""

import json
from pathlib import Path

import numpy as np
import torch

from pipelines.embedded import noising, training_utils, word_tokenizer

UNET = {
    "sample_size": 16,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 224),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": 4,  # the number of heads, by the library's old naming
    "norm_num_groups": 16,
    "cross_attention_dim": 128,
}
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "projection_dim": 128,
}


def build(tokenizer):
    """Returns untrained U-Net and text encoder, with plain attention, which is faster for such narrow heads."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.attention_processor import AttnProcessor
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel(**UNET)
    unet.set_attn_processor(AttnProcessor())
    text = CLIPTextModel(word_tokenizer.text_config(tokenizer, **TEXT))
    return unet, text


def pipeline(work: Path, unet, text):
    """Returns the parts as an unmodified `StableDiffusionPipeline`."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work / "vae"),
        text_encoder=text,
        tokenizer=word_tokenizer.load(work / "tokenizer"),
        unet=unet,
        scheduler=DDIMScheduler(**noising.SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def exported(folder: Path) -> list[torch.Tensor]:
    """Returns the parameters of an exported model, in the order in which they are trained."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32)
    return [p.detach() for p in (*unet.parameters(), *text.parameters())]


PREVIEW_PROMPTS = [
    "a flat drawing of a fox on a blue background, in the center", "a noto drawing of a frog on a white background",
    "a glossy drawing of a rocket on a yellow background", "two pandas on a red background", "three flat apples",
    "a drawing of a penguin on a pink background, on the left", "three noto doughnuts on a green background",
    "one flat banana on a purple background, at the top", "a noto drawing of a dolphin on a black background",
    "two glossy strawberries on a white background, at the bottom", "a flat drawing of a crown", "three cactuses",
]  # fmt: skip


def averaged_pipeline(work: Path, average: list[torch.Tensor]):
    """Returns the pipeline with the averaged weights."""
    unet, text = build(word_tokenizer.load(work / "tokenizer"))
    with torch.no_grad():
        for p, value in zip([*unet.parameters(), *text.parameters()], average, strict=True):
            p.copy_(value)
    pipe = pipeline(work, unet.eval(), text.eval())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def save_preview(work: Path, average: list[torch.Tensor], path: Path) -> None:
    """Samples a contact sheet with the averaged weights."""
    pipe = averaged_pipeline(work, average)
    with torch.autocast("cpu", torch.bfloat16):
        images = pipe(
            PREVIEW_PROMPTS * 2,
            num_inference_steps=15,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(0),
            height=64,
            width=64,
        ).images
    training_utils.sheet(np.stack([np.asarray(image) for image in images]), 12, 1).save(path)


def export(work: Path, out: Path) -> None:
    """Writes the pipeline's folder with 16-bit weights that load as 32-bit by default."""
    pipe = averaged_pipeline(work, training_utils.load_checkpoint(work / "denoiser.pt")["average"])
    pipe.vae.register_to_config(_name_or_path="")  # removes the path on this machine
    pipe.to(dtype=torch.float16).save_pretrained(out, safe_serialization=True)
    word_tokenizer.save(out / "tokenizer")
    (out / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)  # the two files of the older format are sufficient
    full_precision_by_default(out / "text_encoder")
    add_key_prefix(out / "text_encoder" / "model.safetensors")


def add_key_prefix(path: Path) -> None:
    """Adds ``text_model.`` to the text encoder's keys. transformers 4 needs it; 5 reads both and writes none."""
    from safetensors.torch import load_file, save_file

    weights = {"text_model." + key.removeprefix("text_model."): value for key, value in load_file(path).items()}
    training_utils.write_atomically(path, lambda temporary: save_file(weights, temporary, metadata={"format": "pt"}))


def full_precision_by_default(folder: Path) -> None:
    """Sets 32 bits as the default precision in a transformers config, independent of the stored precision."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config.pop("torch_dtype", None)
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")

"""A hand-written loop that scores a folder of images by a dual encoder, the baseline of the scoring benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


@torch.no_grad()
def raw_scores(model: Any, tokenizer: Any, folder: Path, images: Path, batch: int) -> list[float]:
    """Returns the cosine of each image and its prompt: opened, resized, cropped, normalised, embedded batch by batch.

    Args:
        model: A dual encoder of transformers.
        tokenizer: Its tokenizer.
        folder: The model's folder, for its preprocessing.
        images: A folder with ``metadata.jsonl``.
        batch: Images per forward pass.
    """
    config = json.loads((folder / "preprocessor_config.json").read_text())
    rows = [json.loads(line) for line in (images / "metadata.jsonl").read_text().splitlines()]
    length = min(model.config.text_config.max_position_embeddings, tokenizer.model_max_length)
    scores: list[float] = []
    for start in range(0, len(rows), batch):
        part = rows[start : start + batch]
        pixels = torch.stack([_pixels(images / row["file_name"], config) for row in part])
        prompts = list(dict.fromkeys(row["prompt"] for row in part))
        tokens = tokenizer(prompts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        texts = _unit(model.get_text_features(**tokens))[[prompts.index(row["prompt"]) for row in part]]
        scores += (_unit(model.get_image_features(pixel_values=pixels)) * texts).sum(-1).tolist()
    return scores


def _pixels(path: Path, config: dict[str, Any]) -> Tensor:
    image = Image.open(path).convert("RGB")
    size = config["size"]
    if "shortest_edge" in size:
        edge, crop = size["shortest_edge"], config["crop_size"]["height"]
        scale = edge / min(image.size)
        image = image.resize((int(image.width * scale), int(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - crop) // 2, (image.height - crop) // 2
        image = image.crop((left, top, left + crop, top + crop))
    else:
        image = image.resize((size["width"], size["height"]), Image.Resampling.BICUBIC)
    pixels = np.asarray(image, np.float32) / 255
    pixels = (pixels - np.asarray(config["image_mean"], np.float32)) / np.asarray(config["image_std"], np.float32)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _unit(output: Any) -> Tensor:
    return F.normalize(getattr(output, "pooler_output", output), dim=-1)

"""Dual encoders: how well an image fits its prompt, as the cosine between their two embeddings.

    score_b = <f(x_b), g(c_b)> / (|f(x_b)| |g(c_b)|)        f: image encoder, g: text encoder

Supports every dual encoder of transformers that has ``get_image_features`` and ``get_text_features`` (CLIP, SigLIP,
ALIGN, ``VisionTextDualEncoderModel``), and of open_clip. The score is the cosine itself; tables of "CLIP scores" print
100 times it.

Source: Hessel et al. 2021 (arXiv 2104.08718), eq. 1 without its weight 2.5 and without clipping at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diffalign.errors import UserError
from diffalign.files.complete_weights import AGAIN, one_sentence
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.encoders.encoder import Encoder
from diffalign.scorers.images.encoders.open_encoder import open_encoder
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash

DEFAULT = "openai/clip-vit-large-patch14"


class DualEncoder(ComparesByScore):
    """A dual encoder as a scorer.

    Args:
        encoder: Embeds images and texts.
        name: Its name in reports.
        batch_size: Images per forward pass; the scores do not depend on it.
    """

    medium = "image"
    unit = "cosine"
    range = (-1.0, 1.0)
    license = "see the model's page"
    paper = "arXiv 2104.08718"

    def __init__(self, encoder: Encoder, *, name: str = "clip", batch_size: int = 16) -> None:
        self.encoder, self.name, self.batch_size = encoder, name, batch_size
        self.preprocessing = str(encoder.preprocess)

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu", *, name: str = "clip", processor: str = "") -> DualEncoder:
        """Loads a folder, a hub id, or ``open_clip:ARCHITECTURE/WEIGHTS``.

        Args:
            argument: Folder, hub id or name for open_clip; empty for OpenAI's CLIP L/14.
            device: The device to load it on.
            name: First part of its name in reports.
            processor: Folder or hub id of tokenizer and preprocessing, where they are not stored with the weights.

        Raises:
            UserError: The model is no dual encoder, or cannot be loaded.
        """
        source = argument or DEFAULT
        scorer = cls(open_encoder(source, device, processor=processor), name=f"{name}:{source}")
        with one_sentence(
            f"'{source}' cannot score an image", UserError, "Its files belong to several models. " + AGAIN
        ):
            DualEncoder.score(scorer, ["a"], [Image.new("RGB", (8, 8))])
        return scorer

    @property
    def model(self) -> Any:
        """The network."""
        return self.encoder.model

    @cached_property
    def weights(self) -> str:
        """Hash of the model's parameters, computed on first access."""
        return state_hash(self.model.state_dict())

    def image_features(self, images: Sequence[Any]) -> Tensor:
        """Returns embeddings of unit length, ``(B, D)`` float32 on the CPU."""
        embed, preprocess = self.encoder.embed_images, self.encoder.preprocess
        return torch.cat([_unit(embed(preprocess(part))) for part in chunks(images, self.batch_size)])

    def text_features(self, prompts: Sequence[str]) -> Tensor:
        """Returns embeddings of unit length, ``(B, D)`` float32 on the CPU. Long prompts are truncated."""
        return torch.cat([_unit(self.encoder.embed_texts(part)) for part in chunks(prompts, self.batch_size)])

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns cosines, ``(B,)`` float32."""
        check_prompt_count(prompts, images)
        if not len(images):
            return torch.zeros(0)
        unique = list(dict.fromkeys(prompts))  # many seeds share a prompt
        texts = self.text_features(unique)
        rows = torch.tensor([unique.index(prompt) for prompt in prompts])
        return (self.image_features(images) * texts[rows]).sum(-1)


def _unit(features: Tensor) -> Tensor:
    return F.normalize(features.float(), dim=-1).cpu()

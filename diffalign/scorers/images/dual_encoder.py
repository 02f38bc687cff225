"""Dual encoders: how well an image fits its prompt, as the cosine between their two embeddings.

    score_b = <f(x_b), g(c_b)> / (|f(x_b)| |g(c_b)|)        f: image encoder, g: text encoder

Supports every dual encoder of transformers that has ``get_image_features`` and ``get_text_features``: CLIP, SigLIP,
ALIGN, ``VisionTextDualEncoderModel``. The score is the cosine itself; tables of "CLIP scores" print 100 times it.

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
from diffalign.files.complete_weights import AGAIN, load_pretrained, one_sentence
from diffalign.quiet import quiet
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import Preprocessing, load_preprocessing
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash

DEFAULT = "openai/clip-vit-large-patch14"


class DualEncoder(ComparesByScore):
    """A dual encoder as a scorer.

    Args:
        model: The transformers model, already on its device.
        tokenizer: Its tokenizer.
        preprocess: Its image preprocessing.
        name: Its name in reports.
        batch_size: Images per forward pass; the scores do not depend on it.
    """

    medium = "image"
    unit = "cosine"
    range = (-1.0, 1.0)
    license = "see the model's page"
    paper = "arXiv 2104.08718"

    def __init__(
        self, model: Any, tokenizer: Any, preprocess: Preprocessing, *, name: str = "clip", batch_size: int = 16
    ) -> None:
        self.model, self.tokenizer, self.preprocess = model.eval().requires_grad_(False), tokenizer, preprocess
        self.name, self.batch_size = name, batch_size
        self.preprocessing = str(preprocess)

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu", *, name: str = "clip", processor: str = "") -> DualEncoder:
        """Loads a folder or hub id.

        Args:
            argument: Folder or hub id; empty for OpenAI's CLIP L/14.
            device: The device to load it on.
            name: First part of its name in reports.
            processor: Folder or hub id of tokenizer and preprocessing, where they are not stored with the weights.

        Raises:
            UserError: The model is no dual encoder, or cannot be loaded.
        """
        from transformers import AutoModel, AutoTokenizer

        source = argument or DEFAULT
        advice = (
            "Expected a folder or a hub id with config.json, weights and a tokenizer, as in --scorer clip:" + DEFAULT
        )
        with one_sentence(f"Cannot load a dual encoder from '{source}'", UserError, advice), quiet():
            model = load_pretrained(AutoModel, source, error=UserError, advice=advice, accept=_check_kind)
            tokenizer = AutoTokenizer.from_pretrained(processor or source)
        model, preprocessing = model.float().to(device), load_preprocessing(processor or source)
        scorer = cls(model, tokenizer, preprocessing, name=f"{name}:{source}")
        with one_sentence(
            f"'{source}' cannot score an image", UserError, "Its files belong to several models. " + AGAIN
        ):
            DualEncoder.score(scorer, ["a"], [Image.new("RGB", (8, 8))])
        return scorer

    @cached_property
    def weights(self) -> str:
        """Hash of the model's parameters, computed on first access."""
        return state_hash(self.model.state_dict())

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    @torch.no_grad()
    def image_features(self, images: Sequence[Any]) -> Tensor:
        """Returns embeddings of unit length, ``(B, D)`` float32 on the CPU."""
        parts = [
            self._normalise(self.model.get_image_features(pixel_values=self.preprocess(part).to(self._device)))
            for part in chunks(images, self.batch_size)
        ]
        return torch.cat(parts)

    @torch.no_grad()
    def text_features(self, prompts: Sequence[str]) -> Tensor:
        """Returns embeddings of unit length, ``(B, D)`` float32 on the CPU. Long prompts are truncated."""
        config = self.model.config.text_config
        length = min(int(self.tokenizer.model_max_length), int(getattr(config, "max_position_embeddings", 1 << 30)))
        # SigLIP was trained on padded texts and attends to the padding; the others mask it
        padding: Any = "max_length" if self.model.config.model_type.startswith("siglip") else True
        parts = []
        for part in chunks(prompts, self.batch_size):
            tokens = self.tokenizer(
                list(part), padding=padding, truncation=True, max_length=length, return_tensors="pt"
            )
            parts.append(self._normalise(self.model.get_text_features(**tokens.to(self._device))))
        return torch.cat(parts)

    @staticmethod
    def _normalise(output: Any) -> Tensor:
        features = getattr(output, "pooler_output", output)  # transformers 5 wraps the tensor that 4.57 returned
        return F.normalize(features.float(), dim=-1).cpu()

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns cosines, ``(B,)`` float32."""
        check_prompt_count(prompts, images)
        if not len(images):
            return torch.zeros(0)
        unique = list(dict.fromkeys(prompts))  # many seeds share a prompt
        texts = self.text_features(unique)
        rows = torch.tensor([unique.index(prompt) for prompt in prompts])
        return (self.image_features(images) * texts[rows]).sum(-1)


def _check_kind(model: Any) -> None:
    """Raises UserError unless a model embeds images and texts."""
    if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
        raise UserError(
            f"'{model.config._name_or_path}' is a {type(model).__name__}, which does not embed images and texts in one "
            "space. Expected a dual encoder such as CLIPModel; for a classifier write label_hit:FOLDER."
        )

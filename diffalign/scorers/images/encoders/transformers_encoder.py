"""Dual encoders of transformers: CLIP, SigLIP, ALIGN, ``VisionTextDualEncoderModel``, from a folder or a hub id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.files.complete_weights import load_pretrained, one_sentence
from diffalign.quiet import quiet
from diffalign.scorers.images.encoders.encoder import Preprocess, stored_logit_scale
from diffalign.scorers.images.image_input import load_preprocessing

EXAMPLE = "openai/clip-vit-large-patch14"


class TransformersEncoder:
    """A dual encoder of transformers.

    Args:
        model: The model, already on its device.
        tokenizer: Its tokenizer.
        preprocess: Its image preprocessing.
    """

    def __init__(self, model: Any, tokenizer: Any, preprocess: Preprocess) -> None:
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        self.preprocess: Preprocess = preprocess

    @classmethod
    def load(cls, source: str, device: str = "cpu", *, processor: str = "") -> TransformersEncoder:
        """Loads a folder or hub id.

        Args:
            source: Folder or hub id of the weights.
            device: The device to load them on.
            processor: Folder or hub id of tokenizer and preprocessing, where they are not stored with the weights.

        Raises:
            UserError: The model is no dual encoder, or cannot be loaded.
        """
        from transformers import AutoModel, AutoTokenizer

        advice = (
            "Expected a folder or a hub id with config.json, weights and a tokenizer, as in --scorer clip:" + EXAMPLE
        )
        with one_sentence(f"Cannot load a dual encoder from '{source}'", UserError, advice), quiet():
            model = load_pretrained(AutoModel, source, error=UserError, advice=advice, accept=_check_kind)
            tokenizer = AutoTokenizer.from_pretrained(processor or source)
        return cls(model.float().to(device), tokenizer, load_preprocessing(processor or source))

    @property
    def logit_scale(self) -> float | None:
        """``exp(logit_scale)`` of the model."""
        return stored_logit_scale(self.model)

    @torch.no_grad()
    def embed_images(self, pixels: Tensor) -> Tensor:
        """Returns embeddings, ``(B, D)``."""
        return _tensor(self.model.get_image_features(pixel_values=pixels.to(self._device)))

    @torch.no_grad()
    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """Returns embeddings, ``(B, D)``."""
        config = self.model.config.text_config
        length = min(int(self.tokenizer.model_max_length), int(getattr(config, "max_position_embeddings", 1 << 30)))
        # SigLIP was trained on padded texts and attends to the padding; the others mask it
        attends_to_padding = self.model.config.model_type.startswith("siglip")
        padding: Any = "max_length" if attends_to_padding else True
        tokens = self.tokenizer(list(prompts), padding=padding, truncation=True, max_length=length, return_tensors="pt")
        if attends_to_padding:
            tokens.pop("attention_mask", None)
        return _tensor(self.model.get_text_features(**tokens.to(self._device)))

    @property
    def _device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device


def _tensor(output: Any) -> Tensor:
    features: Tensor = getattr(output, "pooler_output", output)  # transformers 5 wraps what 4.57 returned
    return features


def _check_kind(model: Any) -> None:
    """Raises UserError unless a model embeds images and texts."""
    if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
        raise UserError(
            f"'{model.config._name_or_path}' is a {type(model).__name__}, which does not embed images and texts in one "
            "space. Expected a dual encoder such as CLIPModel; for a classifier write label_hit:FOLDER."
        )

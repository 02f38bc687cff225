"""The encoder interface: images and texts in, embeddings in one space out.

CLIP and its kin differ in who publishes them: transformers, or open_clip. Scorers see this interface only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Preprocess(Protocol):
    """Brings images of any size and mode to the input of a network; as a text it is the id that stands beside scores.

    :class:`~diffalign.scorers.images.image_input.Preprocessing` is the usual one.
    """

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Returns ``(B, 3, H, W)`` float32."""


class Encoder(Protocol):
    """A pair of networks that embed images and texts."""

    model: Any
    """The network, with its parameters; a ``logit_scale`` where it was trained with one."""

    preprocess: Preprocess
    """What its images go through."""

    @property
    def logit_scale(self) -> float | None:
        """Factor on the cosine in the model's training, ``exp(logit_scale)``; None where it has none."""

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Returns embeddings of preprocessed images, ``(B, D)`` of any length, on the model's device."""

    def embed_texts(self, prompts: Sequence[str]) -> Tensor:
        """Returns embeddings of prompts, ``(B, D)`` of any length. Prompts that are too long are truncated."""


def stored_logit_scale(model: Any) -> float | None:
    """Returns ``exp(logit_scale)`` of a model that has the parameter."""
    scale = getattr(model, "logit_scale", None)
    return None if scale is None else float(scale.detach().float().exp().reshape(()))

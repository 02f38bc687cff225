"""What a denoiser is told besides latent and level: the prompt's states, and for some models sizes.

One small class per family (`sd`, `sdxl`) turns prompts into the very tensors that the stock pipeline of that family
feeds its network, so that a model is aligned in the conditions it will be used in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Prompts(Protocol):
    """The frozen text encoders of one family."""

    modules: list[nn.Module]
    """The encoders, to be moved between devices and hashed."""

    tokenizers: list[Any]
    """One per encoder."""

    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """``{name: (B, ...)}`` as the network takes them, without gradient."""

    def empty(self) -> dict[str, Tensor]:
        """``{name: (1, ...)}`` of the unconditional branch of guidance."""

    @staticmethod
    def sizes(size: Tensor, resolution: int, fixed: bool) -> dict[str, Tensor]:
        """Conditions that depend on the image; ``size`` is ``(B, 4)``: height, width, top and left of the cut."""


def tokens(tokenizer: Any, prompts: Sequence[str], device: torch.device) -> Tensor:
    """``(B, length)`` token ids, padded and cut to the tokenizer's own length."""
    length = tokenizer.model_max_length
    ids = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids.to(device)


def tokenizer_digest(tokenizer: Any) -> str:
    """Identity of a tokenizer by what it does: its vocabulary, its length and a probe sentence."""
    probe = tokenizer("A fox, 12 x 3; Blue!").input_ids
    text = repr((sorted(tokenizer.get_vocab().items()), tokenizer.model_max_length, probe))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

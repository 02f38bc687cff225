"""Prompts of Stable Diffusion 1.x and 2.x: one CLIP text encoder, its last normalised states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.policies.diffusion.families.conditioning import tokens


class StableDiffusionPrompts:
    """``encoder_hidden_states (B, length, width)``. The empty prompt is encoded like any other.

    Args:
        pipeline: A ``StableDiffusionPipeline``; only tokenizer and text encoder are kept.
    """

    def __init__(self, pipeline: Any) -> None:
        self.tokenizers = [pipeline.tokenizer]
        self.modules = [pipeline.text_encoder]

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """States of the prompts."""
        encoder = self.modules[0]
        return {"encoder_hidden_states": encoder(tokens(self.tokenizers[0], prompts, encoder.device))[0]}

    def empty(self) -> dict[str, Tensor]:
        """States of ``""``."""
        return self.encode([""])

    @staticmethod
    def sizes(size: Tensor, resolution: int, fixed: bool) -> dict[str, Tensor]:
        """Nothing: these models are not told sizes."""
        return {}

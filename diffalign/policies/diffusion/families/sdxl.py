"""Prompts of Stable Diffusion XL: two text encoders, a pooled state, and size ids.

The states are the penultimate layers of both encoders side by side; the pooled state is the second encoder's. Size ids
are ``(height, width, top, left, target height, target width)``. Podell et al. 2023 (arXiv 2307.01952), section 2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.policies.diffusion.families.conditioning import tokens


class StableDiffusionXLPrompts:
    """``encoder_hidden_states (B, length, width)``, ``text_embeds (B, pooled)``, ``time_ids (B, 6)``.

    The unconditional branch is all zeros where the pipeline's ``force_zeros_for_empty_prompt`` says so. (The released
    Diffusion-DPO code encodes ``""`` in training, a branch that the stock pipeline never uses.)

    Args:
        pipeline: A ``StableDiffusionXLPipeline``; only tokenizers and text encoders are kept.
    """

    def __init__(self, pipeline: Any) -> None:
        self.tokenizers = [pipeline.tokenizer, pipeline.tokenizer_2]
        self.modules = [pipeline.text_encoder, pipeline.text_encoder_2]
        self.force_zeros = bool(pipeline.config.force_zeros_for_empty_prompt)

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """States and pooled states of the prompts."""
        states = []
        for tokenizer, encoder in zip(self.tokenizers, self.modules, strict=True):
            output = encoder(tokens(tokenizer, prompts, encoder.device), output_hidden_states=True)
            states.append(output.hidden_states[-2])
        return {"encoder_hidden_states": torch.cat(states, dim=-1), "text_embeds": output.text_embeds}

    def empty(self) -> dict[str, Tensor]:
        """Zeros or the states of ``""``, as the pipeline's configuration says."""
        states = self.encode([""])
        return {name: torch.zeros_like(value) for name, value in states.items()} if self.force_zeros else states

    @staticmethod
    def sizes(size: Tensor, resolution: int, fixed: bool) -> dict[str, Tensor]:
        """The six ids; ``fixed`` says every image was ``resolution`` on each side and uncropped."""
        if fixed:
            size = torch.tensor([resolution, resolution, 0, 0], device=size.device).expand(len(size), 4)
        target = torch.full((len(size), 2), resolution, device=size.device)
        return {"time_ids": torch.cat([size, target], dim=1).float()}

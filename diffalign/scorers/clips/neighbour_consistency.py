"""Neighbour consistency: how alike an image encoder finds the frames of a clip. 1 for a still clip.

    score = mean over f >= 1 of ( max(0, cos(e_{f-1}, e_f)) + max(0, cos(e_0, e_f)) ) / 2      e_f: embedding of frame f

The formula is that of VBench's subject consistency, which uses DINO ViT-B/16, and of its background consistency, which
uses CLIP ViT-B/32 with another resize. Here the encoder is the one that is named, with its own preprocessing, so the
numbers are not VBench's, and those of two encoders cannot be compared. Rewards stillness: a still clip scores 1.

Source: Huang et al. 2023 (arXiv 2311.17982), subject consistency.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.dual_encoder import DualEncoder
from diffalign.scorers.scorer import SupportsImageFeatures, check_prompt_count

EXAMPLE = "neighbour_consistency:openai/clip-vit-base-patch32"


def neighbour_consistency(features: Tensor) -> float:
    """Computes the score of embeddings of unit length, ``(F, D)``, F >= 2."""
    later = features[1:]
    to_previous, to_first = (features[:-1] * later).sum(-1), later @ features[0]
    return float(0.5 * (to_previous.clamp(0, 1) + to_first.clamp(0, 1)).mean())


class NeighbourConsistency(ComparesByScore):
    """The likeness of a clip's frames by an encoder.

    Args:
        encoder: Embeds images; a :class:`~diffalign.scorers.images.dual_encoder.DualEncoder`, for instance.
        name: Its name in reports.
    """

    medium = "video"
    reads_prompt = False
    unit = "mean clipped cosine"
    range = (0.0, 1.0)
    license = "see the model's page"
    paper = "arXiv 2311.17982, subject consistency with the named encoder"

    def __init__(self, encoder: SupportsImageFeatures, *, name: str = "neighbour_consistency") -> None:
        self.encoder, self.name = encoder, name
        self.preprocessing = str(getattr(encoder, "preprocessing", ""))

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> NeighbourConsistency:
        """Loads a dual encoder from a folder or hub id.

        Raises:
            UserError: The argument is missing, or names no dual encoder.
        """
        if not argument:
            raise UserError(f"neighbour_consistency needs an encoder, a folder or hub id: write {EXAMPLE}")
        return cls(DualEncoder.load(argument, device), name=f"neighbour_consistency:{argument}")

    @property
    def weights(self) -> str:
        """Hash of the encoder's parameters."""
        return str(getattr(self.encoder, "weights", ""))

    def score(self, prompts: Sequence[Any], clips: Sequence[Any]) -> Tensor:
        """Returns the scores, ``(B,)`` float32; the prompts are not read."""
        check_prompt_count(prompts, clips)
        values = []
        for sample in clips:
            clip = as_clip(sample, min_frames=2, scorer=self.name)
            values.append(neighbour_consistency(self.encoder.image_features(list(clip.frames))))
        return torch.tensor(values, dtype=torch.float32)

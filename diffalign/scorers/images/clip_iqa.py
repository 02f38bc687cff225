"""CLIP-IQA: which of two opposite descriptions an image is closer to, such as a good photo and a bad one.

    score_b = exp(100 cos(x_b, good)) / (exp(100 cos(x_b, good)) + exp(100 cos(x_b, bad)))

The factor is 100 for every encoder, as published. The prompt is not read: it is a measure of the image alone.

Source: Wang et al. 2023 (arXiv 2207.12396), eq. 3, with the pairs of words of torchmetrics, which this equals with the
same encoder. The paper's encoder is a ResNet-50 without position embedding, whose numbers are others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError, near_miss
from diffalign.scorers.images.dual_encoder import DEFAULT, DualEncoder
from diffalign.scorers.images.encoders.encoder import Encoder
from diffalign.scorers.scorer import check_prompt_count

SCALE = 100.0
PAIRS = {
    "quality": ("Good photo.", "Bad photo."),
    "brightness": ("Bright photo.", "Dark photo."),
    "noisiness": ("Clean photo.", "Noisy photo."),
    "colorfullness": ("Colorful photo.", "Dull photo."),
    "sharpness": ("Sharp photo.", "Blurry photo."),
    "contrast": ("High contrast photo.", "Low contrast photo."),
    "complexity": ("Complex photo.", "Simple photo."),
    "natural": ("Natural photo.", "Synthetic photo."),
    "happy": ("Happy photo.", "Sad photo."),
    "scary": ("Scary photo.", "Peaceful photo."),
    "new": ("New photo.", "Old photo."),
    "warm": ("Warm photo.", "Cold photo."),
    "real": ("Real photo.", "Abstract photo."),
    "beautiful": ("Beautiful photo.", "Ugly photo."),
    "lonely": ("Lonely photo.", "Sociable photo."),
    "relaxing": ("Relaxing photo.", "Stressful photo."),
}
"""Property to its description and the opposite one, spelt as in torchmetrics."""


class ClipIqa(DualEncoder):
    """A dual encoder that judges one property.

    Args:
        encoder: Embeds images and texts.
        pair: The description and its opposite.
        name: Its name in reports.
    """

    unit = "probability"
    range = (0.0, 1.0)
    paper = "arXiv 2207.12396"

    def __init__(
        self,
        encoder: Encoder,
        *,
        pair: tuple[str, str] = PAIRS["quality"],
        name: str = "clip_iqa",
        batch_size: int = 16,
    ) -> None:
        super().__init__(encoder, name=name, batch_size=batch_size)
        self.pair = pair

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu", *, name: str = "clip_iqa", processor: str = "") -> ClipIqa:
        """Loads ``PROPERTY`` or ``PROPERTY:ENCODER``.

        Args:
            argument: A name of :data:`PAIRS`, or a description and its opposite with a slash between them; after a
                colon an encoder as `clip` takes it. Quality by OpenAI's CLIP L/14 without.
            device: The device to load it on.
            name: First part of its name in reports.
            processor: Folder or hub id of tokenizer and preprocessing, where they are not stored with the weights.

        Raises:
            UserError: The property is unknown, or the encoder cannot be loaded.
        """
        quality, _, source = (argument or "quality").partition(":")
        parts = tuple(part.strip() for part in quality.split("/"))
        pair = PAIRS.get(quality) or (parts if len(parts) == 2 and all(parts) else None)
        if pair is None:
            raise UserError(
                f"clip_iqa has no property '{quality}'.{near_miss(quality, PAIRS)} Known: {', '.join(PAIRS)}. Or give "
                "two descriptions, as in 'clip_iqa:A tidy photo./A messy photo.', and after a colon an encoder."
            )
        scorer = super().load(source or DEFAULT, device, name=name, processor=processor)
        assert isinstance(scorer, cls)
        scorer.pair, scorer.name = (pair[0], pair[1]), f"{name}:{argument}" if argument else name
        return scorer

    def score(self, prompts: Sequence[Any], images: Sequence[Any]) -> Tensor:
        """Returns probabilities of the description, ``(B,)`` float32; the prompts are not read."""
        check_prompt_count(prompts, images)
        if not len(images):
            return torch.zeros(0)
        return (SCALE * self.image_features(images) @ self.text_features(self.pair).T).softmax(-1)[:, 0]

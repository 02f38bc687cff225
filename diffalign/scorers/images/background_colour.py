"""Background: the share of an image's border that has a named colour.

    score = |{border pixels whose nearest palette colour is the target}| / |border pixels|

A preference that is easy to see, for tests and demonstrations: "people here like red backgrounds". The border is a
frame of 1/32 of the short side; the nearest colour is by Euclidean distance in 8-bit RGB.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffalign.errors import DataError, UserError, near_miss
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.scorer import check_prompt_count

PALETTE = {
    "white": (248, 248, 248),
    "black": (24, 24, 28),
    "red": (196, 30, 48),
    "green": (36, 150, 72),
    "blue": (36, 84, 204),
    "yellow": (250, 214, 60),
    "purple": (112, 48, 168),
    "pink": (250, 168, 204),
}


class Background(ComparesByScore):
    """Share of border pixels that have a colour.

    Args:
        colour: A name of :data:`PALETTE`, or ``"prompt"`` for the colour that each prompt names first.

    Raises:
        UserError: The colour is unknown.
    """

    medium = "image"
    unit = "share of border pixels"
    range = (0.0, 1.0)
    license = "Apache-2.0"
    paper = "none: a definition"
    weights = ""

    def __init__(self, colour: str) -> None:
        if colour not in (*PALETTE, "prompt"):
            got = f"'{colour}'" if colour else "nothing"
            raise UserError(
                f"background takes a colour: {', '.join(PALETTE)}, or 'prompt' for the one each prompt names; "
                f"got {got}.{near_miss(colour, PALETTE)} Write background:red, for example."
            )
        self.colour, self.name = colour, f"background:{colour}"
        self.reads_prompt = colour == "prompt"

    @classmethod
    def load(cls, argument: str, device: str = "cpu") -> Background:
        """Builds the scorer for the registry; it uses no device."""
        return cls(argument)

    def check_prompts(self, prompts: Sequence[str]) -> None:
        """Raises :class:`DataError` when the prompts must name the colour and one does not."""
        for prompt in prompts:
            self._target_colour(prompt)

    def _target_colour(self, prompt: str) -> str:
        if self.colour != "prompt":
            return self.colour
        match = re.search(rf"\b(?:{'|'.join(PALETTE)})\b", prompt.lower())
        if match is None:
            raise DataError(
                f"The prompt '{prompt}' names no colour out of {', '.join(PALETTE)}. Leave it out, or give one colour "
                "for all prompts with background:red."
            )
        return match[0]

    def score(self, prompts: Sequence[str], images: Sequence[Any]) -> Tensor:
        """Returns shares, ``(B,)`` float32."""
        check_prompt_count(prompts, images)
        names = list(PALETTE)
        shares = []
        for prompt, image in zip(prompts, images, strict=True):
            counts = np.bincount(_nearest(_border(np.asarray(as_rgb(image)))), minlength=len(names))
            shares.append(counts[names.index(self._target_colour(prompt))] / counts.sum())
        return torch.tensor(shares, dtype=torch.float32)


def _border(pixels: np.ndarray) -> np.ndarray:
    """Returns the frame of ``(H, W, 3)`` as ``(N, 3)``, each pixel once."""
    width = max(1, round(min(pixels.shape[:2]) / 32))
    frame = np.ones(pixels.shape[:2], bool)
    frame[width:-width, width:-width] = False
    return pixels[frame]


def _nearest(pixels: np.ndarray) -> np.ndarray:
    """Returns the index of the nearest palette colour for each pixel, ``(N,)``."""
    distances = pixels[:, None].astype(np.int64) - np.array(list(PALETTE.values()))
    return (distances**2).sum(-1).argmin(1)

"""Letterbox: the whole image within a square, with black borders, as HPSv2 sees it.

    x in [0, 1]  ->  longest side to E, bicubic on the tensor  ->  zeros around it to E x E  ->  (x - mean) / std

The resize works on float values and is not clamped, unlike one of 8-bit pixels. The borders are black before the
normalisation. An image whose longest side is E already is neither resized nor padded in the published code, so a
224 x 100 image fails there; here it gets its borders.

**Antialiasing.** The published code calls torchvision's resize on a tensor without saying whether to antialias.
torchvision did not by default until release 0.16, when the tables were made, and does since 0.17. ``antialias=True`` is
what the published code computes when it is installed today, and what other ports compute; ``False`` is what it computed
then. Scores of both are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from diffalign.scorers.images.image_input import CLIP_MEAN, CLIP_STD, as_rgb


@dataclass(frozen=True)
class Letterbox:
    """The preprocessing.

    Args:
        edge: Side of the square, in pixels.
        antialias: Whether the resize filters what it cannot show.
        mean, std: Per channel.
    """

    edge: int = 224
    antialias: bool = True
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __str__(self) -> str:
        """Returns the short id that stands beside scores."""
        aliasing = "antialiased" if self.antialias else "not antialiased"
        return f"{self.edge} longest bicubic on the tensor ({aliasing}), black borders"

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Converts images of any size and mode to ``(B, 3, edge, edge)`` float32."""
        return torch.stack([self._preprocess(image) for image in images])

    def _preprocess(self, image: Any) -> Tensor:
        pixels = torch.from_numpy(np.array(as_rgb(image), np.float32)).permute(2, 0, 1) / 255
        height, width = pixels.shape[1:]
        scale = self.edge / float(max(height, width))
        new = (max(1, round(height * scale)), max(1, round(width * scale)))
        if new != (height, width):
            pixels = F.interpolate(
                pixels[None], size=new, mode="bicubic", align_corners=False, antialias=self.antialias
            )[0]
        rows, columns = self.edge - new[0], self.edge - new[1]
        borders = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
        mean, std = torch.tensor(self.mean)[:, None, None], torch.tensor(self.std)[:, None, None]
        return (F.pad(pixels, borders) - mean) / std

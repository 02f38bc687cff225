"""JPEG size: how much detail an image has, as the size of its JPEG file at quality 95.

    jpeg_incompressibility: score_b = bytes(JPEG(x_b)) / 1000        jpeg_compressibility: the negative of it

Rewards without a model, for tests of a training: smooth images have a small file, noise a large one. The size grows
with the number of pixels, so only images of one size are comparable. Some code divides by 500 besides.

Source: Black et al. 2023 (arXiv 2305.13301), section 5, and its code.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import UserError
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.images.image_input import as_rgb
from diffalign.scorers.scorer import check_prompt_count

QUALITY = 95


class JpegSize(ComparesByScore):
    """Size of the JPEG file.

    Args:
        large: Whether a large file is good.
    """

    medium = "image"
    unit = "kB"
    license = "Apache-2.0"
    paper = "arXiv 2305.13301"
    preprocessing = f"JPEG of quality {QUALITY}"
    weights = ""

    def __init__(self, *, large: bool) -> None:
        self.sign = 1 if large else -1
        self.name = "jpeg_incompressibility" if large else "jpeg_compressibility"
        self.range = (0.0, float("inf")) if large else (float("-inf"), 0.0)

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu", *, large: bool = True) -> JpegSize:
        """Builds the scorer for the registry; it uses no device."""
        scorer = cls(large=large)
        if argument:
            raise UserError(f"{scorer.name} takes no argument; got '{argument}'. Write: --scorer {scorer.name}")
        return scorer

    def score(self, prompts: Sequence[Any], images: Sequence[Any]) -> Tensor:
        """Returns sizes, or their negatives, ``(B,)`` float32; the prompts are not read."""
        check_prompt_count(prompts, images)
        return torch.tensor([self.sign * _size(image) / 1000 for image in images], dtype=torch.float32)


def _size(image: Any) -> int:
    buffer = io.BytesIO()
    bare = as_rgb(image).copy()
    bare.info.clear()  # a comment of the file that it came from is no detail of the image
    bare.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.tell()

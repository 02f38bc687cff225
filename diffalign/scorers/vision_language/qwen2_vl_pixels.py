"""Frames as Qwen2-VL sees them: sides that are multiples of 28, in patches of 14 x 14 pixels of two frames.

Four patches that lie in a square become one token, so they are neighbours in the sequence:

    pixels (F, H, W, 3)  ->  patches (T h w, 3 * 2 * 14 * 14),    T = F / 2, h = H / 14, w = W / 14
    order: frame pair, row of squares, column of squares, row in the square, column in the square

Source: Wang et al. 2024 (arXiv 2409.12191), section 2.1; sides by `smart_resize` of qwen-vl-utils 0.0.8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from diffalign.errors import DataError

PATCH, SQUARE, PAIR = 14, 2, 2
FACTOR = PATCH * SQUARE
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
LONGEST_RATIO = 200


@dataclass(frozen=True)
class Patches:
    """An image, or a clip, as patches.

    Args:
        pixels: ``(T h w, 1176)`` float32.
        grid: T, h and w.
    """

    pixels: Tensor
    grid: tuple[int, int, int]

    @property
    def tokens(self) -> int:
        """Tokens that it takes in the sequence."""
        return math.prod(self.grid) // SQUARE**2


def fitted_sides(height: int, width: int, least: int, most: int) -> tuple[int, int]:
    """Returns height and width as multiples of 28 with about the same ratio and ``least`` to ``most`` pixels.

    Raises:
        DataError: One side is more than 200 times the other.
    """
    if max(height, width) > LONGEST_RATIO * min(height, width):
        raise DataError(
            f"an image of {width} x {height} pixels is too narrow: one side may be {LONGEST_RATIO} times the other. "
            "Leave it out."
        )
    sides = max(FACTOR, round(height / FACTOR) * FACTOR), max(FACTOR, round(width / FACTOR) * FACTOR)
    if math.prod(sides) > most:
        scale = math.sqrt(height * width / most)
        return math.floor(height / scale / FACTOR) * FACTOR, math.floor(width / scale / FACTOR) * FACTOR
    if math.prod(sides) < least:
        scale = math.sqrt(least / (height * width))
        return math.ceil(height * scale / FACTOR) * FACTOR, math.ceil(width * scale / FACTOR) * FACTOR
    return sides


def image_patches(image: Image.Image, least: int, most: int) -> Patches:
    """Returns an RGB image, resized by PIL's bicubic filter, as one frame that is shown twice."""
    height, width = fitted_sides(image.height, image.width, least, most)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    return _patches(torch.from_numpy(pixels.copy()).permute(2, 0, 1).float()[None].expand(PAIR, -1, -1, -1))


def clip_patches(frames: np.ndarray, least: int, most: int) -> Patches:
    """Returns an even number of frames ``(F, H, W, 3)`` uint8, resized by torch's antialiased bicubic filter."""
    sides = fitted_sides(frames.shape[1], frames.shape[2], least, most)
    resized = [
        F.interpolate(
            torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float(), sides, mode="bicubic", antialias=True
        )
        for frame in frames
    ]
    return _patches(torch.cat(resized).clamp(0, 255).round())


def _patches(frames: Tensor) -> Patches:
    frames = (frames / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    count, channels, height, width = frames.shape
    t, h, w = count // PAIR, height // PATCH, width // PATCH
    split = frames.reshape(t, PAIR, channels, h // SQUARE, SQUARE, PATCH, w // SQUARE, SQUARE, PATCH)
    # (t, rows of squares, columns of squares, row, column, channel, frame of the pair, y, x)
    pixels = split.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t * h * w, channels * PAIR * PATCH * PATCH)
    return Patches(pixels, (t, h, w))

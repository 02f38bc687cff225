"""Converts images to the tensors that a model is trained on: resize, crop, optional flip, scale to [-1, 1].

Chosen and rejected are always framed by the same rule, because a model can learn any systematic difference between the
two (a sharper resize, another crop) in place of the preference. The caller passes whether to flip and where to crop:
this module draws no random numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Crop = Literal["center", "at", "squash", "none"]
Filter = Literal["bilinear", "lanczos", "bicubic"]
_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
}
STRIDE = 8
"""Pixels per latent of the common image autoencoders: uncropped sides are trimmed to a multiple of it."""


@dataclass(frozen=True)
class Framing:
    """The resize and the crop of an image: to ``width x height``, then at ``(left, top)`` to the crop's size.

    SDXL is conditioned on the original size, ``(top, left)`` and the target size.
    """

    width: int
    height: int
    left: int
    top: int
    crop_width: int
    crop_height: int


def frame(
    size: tuple[int, int],
    resolution: int | tuple[int, int],
    *,
    crop: Crop = "center",
    position: tuple[float, float] = (0.5, 0.5),
) -> Framing:
    """Computes the framing of an image of ``size`` (width, height).

    Args:
        size: Width and height before.
        resolution: Side of the square, or (height, width).
        crop: ``"center"``: the short side is fitted and the middle is cropped. ``"at"``: the crop lies at ``position``.
            ``"squash"``: no crop, the sides are stretched. ``"none"``: the short side becomes ``resolution`` and the
            aspect ratio is kept, except for a trim to multiples of 8, so tensors differ in shape.
        position: For ``"at"``, the crop's position between left and right and between top and bottom, in [0, 1].
    """
    height, width = (resolution, resolution) if isinstance(resolution, int) else resolution
    if min(height, width) < 1:
        raise ValueError(f"resolution is in pixels, at least 1; got {resolution}")
    if crop not in ("center", "at", "squash", "none"):
        raise ValueError(f"crop must be center, at, squash or none; got {crop!r}")
    if crop == "squash":
        return Framing(width, height, 0, 0, width, height)
    scale = max(width / size[0], height / size[1])
    full_width, full_height = max(width, int(size[0] * scale + 1e-6)), max(height, int(size[1] * scale + 1e-6))
    if crop == "none":
        width, height = max(1, full_width // STRIDE) * STRIDE, max(1, full_height // STRIDE) * STRIDE
        full_width, full_height = max(full_width, width), max(full_height, height)
    x, y = position if crop == "at" else (0.5, 0.5)
    left, top = round((full_width - width) * x), round((full_height - height) * y)
    return Framing(full_width, full_height, left, top, width, height)


def prepare_image(
    image: Image.Image,
    resolution: int | tuple[int, int],
    *,
    crop: Crop = "center",
    position: tuple[float, float] = (0.5, 0.5),
    flip: bool = False,
    resize: Filter = "bilinear",
) -> Tensor:
    """Frames one RGB image and returns it as ``(3, H, W)`` float32 in [-1, 1].

    Args:
        image: 8-bit RGB, as :func:`~diffalign.data.media.decode.open_image` returns it.
        resolution: Side of the square, or (height, width).
        crop: See :func:`frame`.
        position: See :func:`frame`.
        flip: Flip left and right, after the crop.
        resize: The filter; each of them averages when it shrinks an image.
    """
    fit = frame(image.size, resolution, crop=crop, position=position)
    if image.size != (fit.width, fit.height):
        image = image.resize((fit.width, fit.height), _FILTERS[resize])
    image = image.crop((fit.left, fit.top, fit.left + fit.crop_width, fit.top + fit.crop_height))
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return pixels.permute(2, 0, 1).contiguous().float() / 127.5 - 1.0


def prepare_pair(
    chosen: Image.Image,
    rejected: Image.Image,
    resolution: int | tuple[int, int],
    *,
    crop: Crop = "center",
    position: tuple[float, float] = (0.5, 0.5),
    flip: bool | tuple[bool, bool] = False,
    resize: Filter = "bilinear",
) -> tuple[Tensor, Tensor]:
    """Prepares both candidates of a pair by one rule; only ``flip`` may differ, when given as (chosen, rejected)."""
    flips = (flip, flip) if isinstance(flip, bool) else flip
    chosen_pixels, rejected_pixels = (
        prepare_image(image, resolution, crop=crop, position=position, flip=flip_image, resize=resize)
        for image, flip_image in zip((chosen, rejected), flips, strict=True)
    )
    return chosen_pixels, rejected_pixels


def to_image(pixels: Tensor) -> Image.Image:
    """Converts ``(3, H, W)`` in [-1, 1] (other values are clipped) to an 8-bit RGB image."""
    levels = ((pixels.detach().float().cpu().clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())

"""Converts a clip to the tensor that a model is trained on: every frame as a picture is, by one crop rectangle."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.preprocess import Crop, Filter, prepare_image, to_image


def clip_pixels(
    clip: Clip,
    resolution: int | tuple[int, int],
    *,
    crop: Crop = "center",
    position: tuple[float, float] = (0.5, 0.5),
    flip: bool = False,
    resize: Filter = "bilinear",
) -> Tensor:
    """Frames a clip and returns it as ``(3, F, H, W)`` float32 in [-1, 1].

    Frame f is to the bit what :func:`~diffalign.data.media.preprocess.prepare_image` makes of that frame as a picture:
    all frames have one size, so they are resized and cropped alike, and a flip is of all of them.

    Args:
        clip: A decoded clip. Chosen and rejected are opened by one rule with one start.
        resolution: Side of the square, or (height, width).
        crop, position, flip, resize: As for pictures.
    """
    frames = (Image.fromarray(frame) for frame in clip.frames)
    options = {"crop": crop, "position": position, "flip": flip, "resize": resize}
    return torch.stack([prepare_image(frame, resolution, **options) for frame in frames], dim=1)  # type: ignore[arg-type]


def to_clip(pixels: Tensor, fps: float) -> Clip:
    """Converts ``(3, F, H, W)`` in [-1, 1] (other values are clipped) to a clip of 8-bit RGB frames."""
    import numpy as np

    return Clip(np.stack([np.asarray(to_image(frame)) for frame in pixels.unbind(1)]), fps)

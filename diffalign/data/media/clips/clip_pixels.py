"""Converts a clip to the tensors that a model is trained on: every frame as a picture is, by one crop rectangle."""

from __future__ import annotations

from collections.abc import Iterator

from PIL import Image
from torch import Tensor

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.preprocess import Crop, Filter, prepare_image


def clip_pixels(
    clip: Clip,
    resolution: int | tuple[int, int],
    *,
    crop: Crop = "center",
    position: tuple[float, float] = (0.5, 0.5),
    flip: bool = False,
    resize: Filter = "bilinear",
) -> Iterator[Tensor]:
    """Yields the frames of a clip, each ``(3, H, W)`` float32 in [-1, 1].

    Frame f is to the bit what :func:`~diffalign.data.media.preprocess.prepare_image` makes of that frame as a picture:
    all frames have one size, so they are resized and cropped alike, and a flip is of all of them.

    Args:
        clip: A decoded clip. Chosen and rejected are opened by one rule with one start.
        resolution: Side of the square, or (height, width).
        crop, position, flip, resize: As for pictures.
    """
    for frame in clip.frames:
        image = Image.fromarray(frame)
        yield prepare_image(image, resolution, crop=crop, position=position, flip=flip, resize=resize)

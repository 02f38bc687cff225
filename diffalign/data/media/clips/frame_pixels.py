"""One decoded frame of a video as a viewer would show it: turned upright, and laid on white where it is transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def shown_size(frame: Any, aspect: Any = None) -> tuple[int, int]:
    """Returns width and height after the rotation that the file asks for, with square pixels.

    Args:
        frame: A frame of PyAV.
        aspect: Width of a stored pixel by its height; None or 0 where the file does not say it.
    """
    width = max(1, round(frame.width * aspect)) if aspect and aspect > 0 else frame.width
    return (frame.height, width) if _turns(frame) % 2 else (width, frame.height)


def frame_pixels(frame: Any, size: tuple[int, int]) -> np.ndarray:
    """Returns ``(H, W, 3)`` uint8 of a frame of PyAV, resized where its shown size is not ``size`` (width, height)."""
    if shown_size(frame) != size:
        width, height = size[::-1] if _turns(frame) % 2 else size
        frame = _resized_frame(frame, width, height)
    turns = _turns(frame)
    if any(component.is_alpha for component in frame.format.components):
        return np.rot90(_on_white(frame.to_ndarray(format="rgba")), k=turns)
    return np.rot90(frame.to_ndarray(format="rgb24"), k=turns)


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns a picture of ``size`` (width, height); itself where it has that size."""
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _turns(frame: Any) -> int:
    """Returns the quarter turns against the clock: phones store frames unrotated."""
    return round((frame.rotation or 0) / 90)


def _resized_frame(frame: Any, width: int, height: int) -> Any:
    turned = frame.rotation
    smaller = frame.reformat(width=width, height=height, interpolation="AREA")
    assert smaller.rotation == turned, "FFmpeg keeps what a frame says of itself"
    return smaller


def _on_white(rgba: np.ndarray) -> np.ndarray:
    white = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB"))

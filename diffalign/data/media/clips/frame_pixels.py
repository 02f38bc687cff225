"""One decoded frame of a video as a viewer would show it: turned upright, and laid on white where it is transparent."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def shown_size(frame: Any) -> tuple[int, int]:
    """Returns width and height after the rotation that the file asks for."""
    return (frame.height, frame.width) if _turns(frame) % 2 else (frame.width, frame.height)


def frame_pixels(frame: Any, size: tuple[int, int]) -> np.ndarray:
    """Returns ``(H, W, 3)`` uint8 of a frame of PyAV, resized to ``size`` (width, height) where the file changes it."""
    if any(component.is_alpha for component in frame.format.components):
        pixels = _on_white(frame.to_ndarray(format="rgba"))
    else:
        pixels = frame.to_ndarray(format="rgb24")
    pixels = np.rot90(pixels, k=_turns(frame))
    if pixels.shape[1::-1] == size:
        return pixels
    image = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(image)


def _turns(frame: Any) -> int:
    """Returns the quarter turns against the clock: phones store frames unrotated."""
    return round((frame.rotation or 0) / 90)


def _on_white(rgba: np.ndarray) -> np.ndarray:
    white = Image.new("RGBA", (rgba.shape[1], rgba.shape[0]), (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, Image.fromarray(rgba)).convert("RGB"))

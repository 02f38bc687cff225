"""Clips whose scores are known: grey ground, a red square of 16 pixels, 16 frames of 64 x 64."""

import numpy as np
from PIL import Image

from diffalign.data.media.clips.clip import Clip


def square(starts, fps=8.0):
    frames = np.full((len(starts), 64, 64, 3), 40, np.uint8)
    for frame, x in zip(frames, starts, strict=True):
        frame[24:40, x : x + 16] = (230, 60, 60)
    return Clip(frames, fps)


def pan(rng):
    """Smooth noise that moves two pixels a frame."""
    wide = Image.fromarray(rng.integers(0, 256, (17, 33, 3), dtype=np.uint8)).resize(
        (128, 64), Image.Resampling.BICUBIC
    )
    return Clip(np.stack([np.asarray(wide)[:, 2 * f : 2 * f + 64] for f in range(16)]), 8.0)


def clips():
    rng = np.random.default_rng(0)
    flashes = np.full((16, 64, 64, 3), 40, np.uint8)
    flashes[1::2] = 80
    return {
        "still": square([4] * 16),
        "moving": square([4 + 2 * f for f in range(16)]),
        "jerky": square([4 + 4 * (f // 2) for f in range(16)]),
        "flicker": Clip(flashes, 8.0),
        "noise": Clip(rng.integers(0, 256, (16, 64, 64, 3), dtype=np.uint8), 8.0),
        "pan": pan(rng),
    }

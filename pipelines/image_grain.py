"""Grain: fine texture that judges overlook at first, and that grows where a training goes wrong.

    grain(x) = median over pixels of |4 x(i, j) - x(i +- 1, j) - x(i, j +- 1)|

in levels of the luma (0 to 255). Flat areas of a clean image have almost none; edges are few and do not move a median.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def grain(image: Image.Image) -> float:
    """Returns the median absolute Laplacian of an image's luma."""
    luma = np.asarray(image.convert("L"), np.float32)
    inner = luma[1:-1, 1:-1]
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.median(np.abs(4 * inner - around)))


def mean_grain(files: Iterable[Path | str]) -> float:
    """Returns the mean grain of image files."""
    values = []
    for file in files:
        with Image.open(file) as image:
            values.append(grain(image))
    return float(np.mean(values))

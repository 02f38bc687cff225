"""Features of images that differ between generators, resolutions or codecs, independent of the motif."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from diffalign.data.media.decode import image_format, image_size, media_bytes, open_image
from diffalign.data.records.pair import Media
from diffalign.data.separability.probe import Array

FORMATS = ("PNG", "JPEG", "WEBP")
CODEC = ("log width", "log height", "log aspect", "bytes per pixel", *FORMATS, "JPEG quantisation", "JPEG subsampling")
"""Names of the features of :func:`codec`, in order."""

STATISTICS = (
    *(f"mean {channel}" for channel in "RGB"),
    *(f"spread {channel}" for channel in "RGB"),
    "saturation",
    "sharpness",
    "blocks of 8",
    "black or white pixels",
)
"""Names of the features of :func:`statistics`, in order."""

MAX_SIDE = 512  # pixels of the longer side at which the statistics are computed


def codec(images: Sequence[Media]) -> Array:
    """Returns size, file format and compression of each image, ``(N, D)``, without decoding its pixels."""
    return np.array([_codec(image) for image in images]).reshape(len(images), len(CODEC))


def statistics(images: Sequence[Media]) -> Array:
    """Returns colours, sharpness (the logarithm of the Laplacian's variance) and traces of 8 x 8 blocks, ``(N, D)``."""
    return np.array([_statistics(image) for image in images]).reshape(len(images), len(STATISTICS))


def _codec(media: Media) -> list[float]:
    content = media_bytes(media)
    (width, height), format = image_size(content), image_format(content)
    quantisation, sampling = 0.0, 0.0
    if format == "JPEG":
        from PIL import JpegImagePlugin

        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            tables = getattr(image, "quantization", {}).values()
            quantisation = math.log1p(float(np.mean([np.mean(table) for table in tables] or [0.0])))
            sampling = float(JpegImagePlugin.get_sampling(image))
    sizes = [math.log(width), math.log(height), math.log(width / height), len(content) / (width * height)]
    return [*sizes, *(float(format == name) for name in FORMATS), quantisation, sampling]


def _statistics(media: Media) -> list[float]:
    image = open_image(media)
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.BOX)
    pixels = np.asarray(image, dtype=np.float64) / 255.0
    grey = pixels.mean(2)
    saturation = pixels.max(2) - pixels.min(2)
    ends = (grey < 0.01) | (grey > 0.99)
    values = [
        *pixels.mean((0, 1)),
        *pixels.std((0, 1)),
        saturation.mean(),
        _sharpness(grey),
        _blocks(grey),
        ends.mean(),
    ]
    return [float(value) for value in values]


def _sharpness(grey: Array) -> float:
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle
    return math.log(laplacian.var() + 1e-8)


def _blocks(grey: Array) -> float:
    """Returns the log ratio of the mean step across borders of 8 x 8 blocks to the mean step elsewhere."""
    steps = np.abs(np.diff(grey, axis=1))
    if steps.shape[1] < 16:
        return 0.0
    border = np.arange(steps.shape[1]) % 8 == 7
    return float(np.log((steps[:, border].mean() + 1e-6) / (steps[:, ~border].mean() + 1e-6)))

"""Aspect-ratio buckets: sizes of about one area in several shapes, so that pictures keep theirs.

The sizes have sides that are multiples of ``step``, at most the area of the square, and ratios of their sides up to
``widest``: for each width the largest height that fits. A pair is put into the size whose ratio is nearest to its own,
on a logarithmic scale, and both candidates are resized to cover it and cropped to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from diffalign.data.media.preprocess import frame

Size = tuple[int, int]
"""Height and width, px."""


def bucket_sizes(side: int, step: int, widest: float) -> tuple[Size, ...]:
    """Returns the sizes, from the tallest to the widest.

    Args:
        side: Side of the square whose area no size exceeds; a multiple of ``step``.
        step: Both sides are multiples of it, px.
        widest: Largest ratio of the longer to the shorter side, 1 or more.

    Facts: the square is one of them, and of each size the one turned by 90 degrees is another.
    """
    found = {(side, side)}
    for short in range(step, side, step):
        long = side * side // short // step * step
        if long / short <= widest + 1e-9:
            found |= {(long, short), (short, long)}
    return tuple(sorted(found, key=lambda size: (size[1] / size[0], size)))


def nearest_size(sizes: Sequence[Size], shown: Sequence[tuple[int, int]]) -> Size:
    """Returns the size of a pair.

    Args:
        sizes: As :func:`bucket_sizes` returns them.
        shown: Width and height of each candidate; where they differ, the mean of the logarithms of their ratios counts.
    """
    ratio = math.fsum(math.log(width / height) for width, height in shown) / len(shown)
    far = lambda size: (round(abs(math.log(size[1] / size[0]) - ratio), 9), max(size) / min(size), size)
    return min(sizes, key=far)


@dataclass(frozen=True)
class Fit:
    """How pairs fill their sizes.

    Args:
        counts: Number of pairs by size.
        cropped: Mean share of a candidate's area that is cut off.
        square: The same where all were cropped to squares.
    """

    counts: dict[Size, int]
    cropped: float
    square: float

    def summary(self) -> str:
        """Returns one line: ``"640x384 (12 pairs), 512x512 (3); cut off 1.2 % of a picture (squares: 21 %)"``."""
        sizes = ", ".join(
            f"{width}x{height} ({count}{' pairs' if not number else ''})"
            for number, ((height, width), count) in enumerate(sorted(self.counts.items(), key=lambda item: -item[1]))
        )
        return f"{sizes}; cut off {self.cropped:.1%} of a picture (squares: {self.square:.1%})"


def cut_off(shown: tuple[int, int], size: Size) -> float:
    """Returns the share of a picture's area, of this width and height, that is cut off to fill a size."""
    fit = frame(shown, size)
    return 1.0 - fit.crop_width * fit.crop_height / (fit.width * fit.height)

"""Draws images of several models side by side: a row for each prompt, a column for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

from diffalign.files.atomic import write_atomically
from diffalign.scorers.images.image_input import as_rgb

PAPER, INK = (251, 251, 249), (27, 31, 36)
GAP, TEXT = 6, 190
LETTERS, LINE = 28, 16
"""Letters of a prompt per line of ``TEXT`` pixels, and the height of a line in pixels."""


def grid(prompts: Sequence[str], columns: Mapping[str, Sequence[Path]], side: int = 128) -> Image.Image:
    """Draws the grid.

    Args:
        prompts: One per row.
        columns: Heading to images, one per row.
        side: Width and height of each image, px.
    """
    from matplotlib import get_data_path  # its font has more letters than PIL's own

    font = ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 12)
    size = (TEXT + len(columns) * (side + GAP) + GAP, 2 * LINE + len(prompts) * (side + GAP))
    canvas = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(canvas)
    for row, prompt in enumerate(prompts):
        for number, text in enumerate(wrap(prompt, LETTERS)[: side // LINE]):
            draw.text((GAP, 2 * LINE + row * (side + GAP) + number * LINE), text, font=font, fill=INK)
    for column, (name, paths) in enumerate(columns.items()):
        left = TEXT + column * (side + GAP)
        draw.text((left, LINE // 2), name, font=font, fill=INK)
        for row, path in enumerate(paths):
            image = as_rgb(path).resize((side, side), Image.Resampling.BICUBIC)
            canvas.paste(image, (left, 2 * LINE + row * (side + GAP)))
    return canvas


def save_grid(prompts: Sequence[str], columns: Mapping[str, Sequence[Path]], path: Path) -> Path:
    """Writes :func:`grid` as PNG."""
    image = grid(prompts, columns)
    return write_atomically(path, lambda temporary: image.save(temporary, format="PNG"))

"""Examples that are clips as an image sheet: the frames of the base in a row, those of the aligned model below them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from diffalign.evaluation.report.sheet import Example
from diffalign.evaluation.report.sheet_drawing import INK, PAPER, SOFT, font_of, mark, wrapped
from diffalign.evaluation.samples.clip_frames import IN_A_ROW, rows_of_frames, with_fewer_frames
from diffalign.files.atomic import write_atomically
from diffalign.scorers.clips.clip_input import as_clip

_MARGIN, _LINE, _WORD, _GAP = 20, 18, 46, 16
"""Pixels around the sheet, of a line of text, of the word before a row, and between rows."""


def clip_sheet(shown: Sequence[Example], *, side: int = 64, across: int = 2) -> Image.Image:
    """Draws a prompt above rows of frames, for each seed one of the base and below it one of the aligned model.

    At most eight evenly spaced frames of a clip are shown. Where judges decide, a row is framed in green and called
    right, or in red and called wrong.

    Args:
        shown: At least one example.
        side: Pixels of the longer side of a frame.
        across: Examples in a row.
    """
    blocks = [_block(example, _rows(example, side)) for example in shown]
    lines = [blocks[start : start + across] for start in range(0, len(blocks), across)]
    width = max(block.width for block in blocks) + _MARGIN
    heights = [max(block.height for block in line) + _MARGIN for line in lines]
    canvas = Image.new("RGB", (_MARGIN + width * len(lines[0]), _MARGIN + sum(heights)), PAPER)
    top = _MARGIN
    for line, height in zip(lines, heights, strict=True):
        for k, block in enumerate(line):
            canvas.paste(block, (_MARGIN + k * width, top))
        top += height
    return canvas


def _block(example: Example, rows: Sequence[tuple[str, Image.Image, bool | None]]) -> Image.Image:
    """Draws the prompt of an example, and each row after its word."""
    font, small = font_of(13), font_of(11)
    width = _WORD + max(row.width for _, row, _ in rows) + 3
    title = wrapped(ImageDraw.Draw(Image.new("RGB", (1, 1))), example.prompt, font, width)
    height = len(title) * _LINE + sum(row.height + _GAP for _, row, _ in rows)
    block = Image.new("RGB", (width, height), PAPER)
    draw, top = ImageDraw.Draw(block), len(title) * _LINE + _GAP // 2
    for number, text in enumerate(title):
        draw.text((0, number * _LINE), text, font=font, fill=INK)
    for word, row, right in rows:
        draw.text((0, top + row.height // 2 - 7), word, font=small, fill=SOFT)
        block.paste(row, (_WORD, top))
        if right is not None:
            mark(draw, (_WORD, top), row.size, right, small)
        top += row.height + _GAP
    return block


def save_clip_sheet(shown: Sequence[Example], path: Path, *, side: int = 64) -> Path:
    """Writes :func:`clip_sheet` as PNG."""
    image = clip_sheet(shown, side=side)
    return write_atomically(Path(path), lambda temporary: image.save(temporary, format="PNG"))


def _rows(example: Example, side: int) -> list[tuple[str, Image.Image, bool | None]]:
    """Returns the rows of an example from top to bottom: a word, the frames, and whether judges find the clip right."""
    sides = [("before", example.base, example.base_right), ("after", example.aligned, example.aligned_right)]
    return [
        (word, rows_of_frames([with_fewer_frames(as_clip(clips[k]), IN_A_ROW)], side), right[k] if right else None)
        for k in range(max(len(example.base), len(example.aligned)))
        for word, clips, right in sides
        if k < len(clips)
    ]

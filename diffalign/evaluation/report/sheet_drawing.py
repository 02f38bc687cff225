"""Texts and frames of sheets of examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import ImageDraw, ImageFont

PAPER, INK, SOFT = (251, 251, 249), (27, 31, 36), (106, 115, 125)
_RIGHT, _WRONG = (26, 127, 55), (207, 34, 46)


def mark(draw: ImageDraw.ImageDraw, at: tuple[int, int], size: tuple[int, int], right: bool, font: Any) -> None:
    """Draws the frame of a picture that was judged, and the word at its upper right."""
    colour, word = (_RIGHT, "right") if right else (_WRONG, "wrong")
    draw.rectangle((at[0] - 2, at[1] - 2, at[0] + size[0] + 1, at[1] + size[1] + 1), outline=colour, width=3)
    draw.text((at[0] + size[0], at[1] - 4), word, font=font, fill=colour, anchor="rb")


def font_of(size: int) -> Any:
    """Returns DejaVu, which comes with matplotlib and has more letters than PIL's own font."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def wrapped(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> list[str]:
    """Breaks the text into at most two lines of a width; a longer text is cut and ends with an ellipsis."""
    words = text.split()
    first: list[str] = []
    while words and draw.textlength(" ".join([*first, words[0]]), font=font) <= width:
        first.append(words.pop(0))
    if not first and words:
        return [_fitting(draw, text, font, width)]
    return [" ".join(first), _fitting(draw, " ".join(words), font, width)] if words else [" ".join(first)]


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    text = " ".join(text.split())
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"

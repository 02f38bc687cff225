"""Before and after: examples picked by their place in the list, never by their scores; a sheet of them as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from diffalign.evaluation.comparison import Comparison
from diffalign.scorers.pictures import as_rgb
from diffalign.sharing.atomic import write_atomically

_PAPER, _INK, _SOFT = (251, 251, 249), (27, 31, 36), (106, 115, 125)


@dataclass(frozen=True)
class Example:
    """One prompt with pictures of either model, column i of both from the same seed.

    Args:
        prompt: The prompt.
        base, aligned: Pictures: PIL images, uint8 arrays, paths or bytes. ``base`` may be empty.
        note: A line beneath, such as the seeds.
    """

    prompt: str
    base: Sequence[Any]
    aligned: Sequence[Any]
    note: str = ""


def examples(comparison: Comparison, prompts: int = 8, seeds: int = 2) -> list[Example]:
    """Examples evenly spaced over the comparison's prompts, with the first seeds of each."""
    rows: dict[str, list[Any]] = {}
    for row in comparison.rows:
        rows.setdefault(row["prompt"], []).append(row)
    names = list(rows)
    count = min(prompts, len(names))
    found = []
    for place in range(count):
        prompt = names[place * len(names) // count]
        part = rows[prompt][:seeds]
        note = ("seed " if len(part) == 1 else "seeds ") + ", ".join(str(row["seed"]) for row in part)
        found.append(Example(prompt, [row["base"] for row in part], [row["aligned"] for row in part], note))
    return found


def sheet(shown: Sequence[Example], *, side: int = 160) -> Image.Image:
    """A grid with one row per prompt: base pictures left, aligned pictures right, the prompt above them.

    Args:
        shown: At least one example.
        side: Pixels of the longer side of each picture; smaller ones are enlarged to it.
    """
    font, small = _font(14), _font(12)
    columns = max(max(len(example.base), len(example.aligned)) for example in shown)
    half, gap, margin, line = columns * (side + 6), 24, 20, 24
    width = 2 * margin + 2 * half + gap - 6
    canvas = Image.new("RGB", (width, 2 * margin + 20 + len(shown) * (side + line + 14)), _PAPER)
    draw = ImageDraw.Draw(canvas)
    lefts = (margin, margin + half + gap)
    for left, word in zip(lefts, ("before", "after"), strict=True):
        draw.text((left, margin), word, font=small, fill=_SOFT)
    top = margin + 22
    for example in shown:
        draw.text((margin, top), _fitting(draw, example.prompt, font, width - 2 * margin), font=font, fill=_INK)
        for left, images in zip(lefts, (example.base, example.aligned), strict=True):
            for column, image in enumerate(images):
                canvas.paste(_fitted(as_rgb(image), side), (left + column * (side + 6), top + line))
        top += side + line + 14
    return canvas


def save_sheet(shown: Sequence[Example], path: Path, *, side: int = 160) -> Path:
    """Writes :func:`sheet` as PNG."""
    image = sheet(shown, side=side)
    return write_atomically(Path(path), lambda beside: image.save(beside, format="PNG"))


def _fitted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _font(size: int) -> Any:
    """DejaVu, which matplotlib brings along and which has more letters than PIL's own font."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _fitting(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    text = " ".join(text.split())
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"

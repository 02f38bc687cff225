"""Examples before and after alignment, picked by their position in the list and never by score; as an image sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.samples.medium import find_medium
from diffalign.files.atomic import write_atomically
from diffalign.scorers.image_input import as_rgb

_PAPER, _INK, _SOFT = (251, 251, 249), (27, 31, 36), (106, 115, 125)
_RIGHT, _WRONG = (26, 127, 55), (207, 34, 46)


@dataclass(frozen=True)
class Example:
    """One prompt with samples of both models, column i of both from the same seed.

    Args:
        prompt: The prompt.
        base, aligned: Contents: texts, or images as PIL images, uint8 arrays, paths or bytes. ``base`` may be empty.
        note: A line below the samples, such as the seeds.
        base_right, aligned_right: Whether every judge that decides finds the samples right; empty without such a judge.
    """

    prompt: str
    base: Sequence[Any]
    aligned: Sequence[Any]
    note: str = ""
    base_right: Sequence[bool] = ()
    aligned_right: Sequence[bool] = ()


def evenly_spaced_rows(comparison: Comparison, prompts: int = 9, seeds: int = 2) -> dict[str, list[Mapping[str, Any]]]:
    """Returns rows of a comparison by prompt: evenly spaced prompts, with the first seeds of each."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in comparison.rows:
        rows.setdefault(row["prompt"], []).append(row)
    names = list(rows)
    count = min(prompts, len(names))
    return {name: rows[name][:seeds] for name in (names[k * len(names) // count] for k in range(count))}


def examples(comparison: Comparison, prompts: int = 9, seeds: int = 2) -> list[Example]:
    """Returns examples made of :func:`evenly_spaced_rows`."""
    read = find_medium(comparison.medium).read
    picked = []
    for prompt, rows in evenly_spaced_rows(comparison, prompts, seeds).items():
        note = ("seed " if len(rows) == 1 else "seeds ") + ", ".join(str(row["seed"]) for row in rows)
        base, aligned = ([read(Path(row[side])) for row in rows] for side in ("base", "aligned"))
        base_right, aligned_right = ([all(hits[side] for hits in hits_of(row)) for row in rows] for side in (0, 1))
        decided = all(hits_of(row) for row in rows)
        picked.append(Example(prompt, base, aligned, note, *((base_right, aligned_right) if decided else ())))
    return picked


def hits_of(row: Mapping[str, Any]) -> list[Sequence[bool]]:
    """Returns ``[base, aligned]`` of every judge that decides whether a sample is right; of earlier versions none."""
    return list(row.get("hits", {}).values())


def sheet(shown: Sequence[Example], *, side: int = 128, across: int = 3) -> Image.Image:
    """Draws a grid of blocks: a prompt above the base's images (left) and the aligned model's (right).

    Where judges decide, an image is framed in green and called right, or in red and called wrong.

    Args:
        shown: At least one example.
        side: Pixels of the longer side of each image; smaller images are enlarged.
        across: Blocks in a row.
    """
    font, small = _font(13), _font(11)
    columns = max(max(len(example.base), len(example.aligned)) for example in shown)
    half, gap, margin, line = columns * (side + 4), 8, 20, 18
    across = min(across, len(shown))
    width, height = 2 * half + gap - 4, 3 * line + side + 10
    rows = -(-len(shown) // across)
    canvas = Image.new("RGB", (2 * margin + across * (width + 24) - 24, 2 * margin + rows * (height + 14) - 14), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, example in enumerate(shown):
        left, top = margin + number % across * (width + 24), margin + number // across * (height + 14)
        for k, text in enumerate(_lines(draw, example.prompt, font, width)):
            draw.text((left, top + k * line), text, font=font, fill=_INK)
        before = left, "before", example.base, example.base_right
        after = left + half + gap, "after", example.aligned, example.aligned_right
        for start, word, images, right in (before, after):
            draw.text((start, top + 2 * line + 2), word, font=small, fill=_SOFT)
            for column, image in enumerate(images):
                at = start + column * (side + 4), top + 3 * line
                canvas.paste(_fitted(as_rgb(image), side), at)
                if right:
                    _mark(draw, at, side, right[column], small)
    return canvas


def save_sheet(shown: Sequence[Example], path: Path, *, side: int = 128) -> Path:
    """Writes :func:`sheet` as PNG."""
    image = sheet(shown, side=side)
    return write_atomically(Path(path), lambda temporary: image.save(temporary, format="PNG"))


def _mark(draw: ImageDraw.ImageDraw, at: tuple[int, int], side: int, right: bool, font: Any) -> None:
    """Draws the frame of an image, and the word at its upper right."""
    colour, word = (_RIGHT, "right") if right else (_WRONG, "wrong")
    draw.rectangle((at[0] - 2, at[1] - 2, at[0] + side + 1, at[1] + side + 1), outline=colour, width=3)
    draw.text((at[0] + side, at[1] - 4), word, font=font, fill=colour, anchor="rb")


def _fitted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _font(size: int) -> Any:
    """Returns DejaVu, which comes with matplotlib and has more letters than PIL's own font."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def _lines(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> list[str]:
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

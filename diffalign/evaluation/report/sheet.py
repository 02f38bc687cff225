"""Examples before and after alignment, picked by their position in the list and never by score; as an image sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from diffalign.evaluation.compare.result import Comparison
from diffalign.evaluation.report.sheet_drawing import INK, PAPER, SOFT, font_of, mark, wrapped
from diffalign.evaluation.samples.medium import find_medium
from diffalign.files.atomic import write_atomically
from diffalign.scorers.images.image_input import as_rgb


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
    font, small = font_of(13), font_of(11)
    columns = max(max(len(example.base), len(example.aligned)) for example in shown)
    half, gap, margin, line = columns * (side + 4), 8, 20, 18
    across = min(across, len(shown))
    width, height = 2 * half + gap - 4, 3 * line + side + 10
    rows = -(-len(shown) // across)
    canvas = Image.new("RGB", (2 * margin + across * (width + 24) - 24, 2 * margin + rows * (height + 14) - 14), PAPER)
    draw = ImageDraw.Draw(canvas)
    for number, example in enumerate(shown):
        left, top = margin + number % across * (width + 24), margin + number // across * (height + 14)
        for k, text in enumerate(wrapped(draw, example.prompt, font, width)):
            draw.text((left, top + k * line), text, font=font, fill=INK)
        before = left, "before", example.base, example.base_right
        after = left + half + gap, "after", example.aligned, example.aligned_right
        for start, word, images, right in (before, after):
            draw.text((start, top + 2 * line + 2), word, font=small, fill=SOFT)
            for column, image in enumerate(images):
                at = start + column * (side + 4), top + 3 * line
                canvas.paste(_fitted(as_rgb(image), side), at)
                if right:
                    mark(draw, at, (side, side), right[column], small)
    return canvas


def save_sheet(shown: Sequence[Example], path: Path, *, side: int = 128) -> Path:
    """Writes :func:`sheet` as PNG."""
    image = sheet(shown, side=side)
    return write_atomically(Path(path), lambda temporary: image.save(temporary, format="PNG"))


def _fitted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)

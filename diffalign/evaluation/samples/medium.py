"""Media: what differs between samples that are images, clips and texts. One row each; nothing else here asks.

A sample's *content* is what scorers take and pages show: the path of an image or of a clip, and of a text the text.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from diffalign.errors import UserError
from diffalign.evaluation.samples.diversity import BIGRAMS, PIXELS, Space
from diffalign.scorers.image_input import as_rgb
from diffalign.sharing.atomic import write_atomically

_LARGEST = 384  # pixels of an image's longer side on a page


@dataclass(frozen=True)
class Medium:
    """A kind of samples.

    Args:
        name: As policies and scorers call it.
        noun, plural: What people call one of them, and several.
        suffix: Of its files.
        fits: Whether a sample is one.
        write: Writes a sample to a file.
        read: The content of a file.
        show: ``show(content, label)``, a piece of a page; whatever came from outside is escaped.
        space: Where diversity is measured without an encoder.
        columns: What ``metadata.jsonl`` holds besides prompt and seed, from the content.
        length: Size of a content in ``unit``; None where all samples are of one size.
        unit: What ``length`` counts.
        line: A content as a terminal shows it; None where it cannot.
        sheet: Whether samples can be pasted side by side into an image.
    """

    name: str
    noun: str
    plural: str
    suffix: str
    fits: Callable[[Any], bool]
    write: Callable[[Any, Path], None]
    read: Callable[[Path], Any]
    show: Callable[[Any, str], str]
    space: Space
    columns: Callable[[Any], dict[str, Any]] = lambda content: {}
    length: Callable[[Any], int] | None = None
    unit: str = ""
    line: Callable[[Any], str] | None = None
    sheet: bool = True


def find_medium(name: str) -> Medium:
    """The row of a name. Raises UserError where there is none."""
    if name not in MEDIA:
        raise UserError(f"samples are one of {', '.join(MEDIA)}, and this model makes '{name}'.")
    return MEDIA[name]


def medium_of(sample: Any) -> Medium:
    """The row that a sample fits. Raises UserError where none does."""
    for medium in MEDIA.values():
        if medium.fits(sample):
            return medium
    known = ", ".join(medium.plural for medium in MEDIA.values())
    raise UserError(f"a sample of type {type(sample).__name__} cannot be kept. Known: {known}.")


def medium_of_file(path: Path) -> Medium:
    """The row that a file's ending means; images come with many."""
    return next((medium for medium in MEDIA.values() if path.suffix == medium.suffix), MEDIA["image"])


def data_uri(image: Any) -> str:
    """An image as a ``data:`` address: PNG when small, JPEG after shrinking to 384 pixels otherwise."""
    rgb = as_rgb(image)
    out = io.BytesIO()
    if max(rgb.size) <= 128:
        rgb.save(out, format="PNG", optimize=True)
        kind = "png"
    else:
        rgb.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
        rgb.save(out, format="JPEG", quality=88)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def _write_image(sample: Any, path: Path) -> None:
    write_atomically(path, partial(sample.save, format="PNG"))


def _write_clip(frames: Any, path: Path) -> None:
    options: dict[str, Any] = {"save_all": True, "append_images": list(frames[1:]), "duration": 125, "loop": 0}
    write_atomically(path, lambda beside: frames[0].save(beside, format="GIF", **options))


def _write_text(text: str, path: Path) -> None:
    # As bytes: line ends stay what they are.
    write_atomically(path, lambda beside: beside.write_bytes(text.encode("utf-8", "replace")))


def _read_text(path: Path) -> str:
    return Path(path).read_bytes().decode("utf-8", "replace")


def _show_image(content: Any, label: str) -> str:
    from markupsafe import Markup

    return Markup('<img src="{}" alt="{}">').format(data_uri(content), label)


def _show_text(content: Any, label: str) -> str:
    from markupsafe import Markup

    return Markup('<blockquote aria-label="{}">{}</blockquote>').format(label, content)


MEDIA: dict[str, Medium] = {
    "image": Medium(
        name="image",
        noun="image",
        plural="images",
        suffix=".png",
        fits=lambda sample: hasattr(sample, "save"),
        write=_write_image,
        read=Path,
        show=_show_image,
        space=PIXELS,
    ),
    "video": Medium(
        name="video",
        noun="clip",
        plural="clips",
        suffix=".gif",
        fits=lambda sample: isinstance(sample, (list, tuple)) and all(hasattr(frame, "save") for frame in sample),
        write=_write_clip,
        read=Path,
        show=_show_image,
        space=PIXELS,
    ),
    "text": Medium(
        name="text",
        noun="text",
        plural="texts",
        suffix=".txt",
        fits=lambda sample: isinstance(sample, str),
        write=_write_text,
        read=_read_text,
        show=_show_text,
        space=BIGRAMS,
        columns=lambda content: {"completion": content},
        length=lambda content: len(content.split()),
        unit="words",
        line=str,
        sheet=False,
    ),
}

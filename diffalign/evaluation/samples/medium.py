"""Media: how samples that are images, videos or texts are written, read, shown and measured, one row per medium.

A sample's *content* is what scorers take and pages show: the path of an image or a video, or the text itself.
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

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.medium_of import medium_of as medium_of_media
from diffalign.data.media.clips.write_clip import stated_in, write_clip
from diffalign.data.records.pair import Media
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.errors import UserError
from diffalign.evaluation.samples.diversity import BIGRAMS, CLIP_PIXELS, PIXELS, FeatureSpace
from diffalign.evaluation.samples.show_clips import show_clip
from diffalign.evaluation.samples.text_style import text_style
from diffalign.files.atomic import write_atomically
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.images.image_input import as_rgb

_MAX_SIDE = 384  # pixels of an image's longer side on a page


@dataclass(frozen=True)
class Medium:
    """A kind of samples.

    Args:
        name: Name in policies and scorers.
        noun, plural: Words for one sample and for several.
        suffix: Ending of its files.
        fits: Whether a sample is of this medium.
        write: Writes a sample to a file.
        read: Returns the content of a file.
        show: ``show(content, label)`` returns HTML; text from outside is escaped.
        space: Feature space of diversity without an encoder.
        columns: Returns further columns of ``metadata.jsonl`` from the content.
        length: Returns the size of a content in ``unit``; None if all samples have one size.
        unit: Unit of ``length``.
        style: Returns counts of a content's formatting by feature, which a judge may prefer; None if there are none.
        line: Returns a content for a terminal; None if a terminal cannot show it.
        sheet: Whether samples can be pasted side by side into an image.
        plays: Whether samples play, so that base and aligned are shown in one picture, in step.
    """

    name: str
    noun: str
    plural: str
    suffix: str
    fits: Callable[[Any], bool]
    write: Callable[[Any, Path], None]
    read: Callable[[Path], Any]
    show: Callable[[Any, str], str]
    space: FeatureSpace
    columns: Callable[[Any], dict[str, Any]] = lambda content: {}
    length: Callable[[Any], int] | None = None
    unit: str = ""
    style: Callable[[Any], dict[str, int]] | None = None
    line: Callable[[Any], str] | None = None
    sheet: bool = True
    plays: bool = False

    def count(self, number: int) -> str:
        """Returns a number of samples in words: ``"1 clip"``, ``"4 clips"``."""
        return f"{number} {self.noun if number == 1 else self.plural}"


def find_medium(name: str) -> Medium:
    """Returns the row of a name. Raises UserError if there is none."""
    if name not in MEDIA:
        raise UserError(f"The medium of a model is one of {', '.join(MEDIA)}; got '{name}'.")
    return MEDIA[name]


def medium_of(sample: Any) -> Medium:
    """Returns the row that a sample fits. Raises UserError if none does."""
    for medium in MEDIA.values():
        if medium.fits(sample):
            return medium
    plurals = ", ".join(medium.plural for medium in MEDIA.values())
    raise UserError(f"a sample of type {type(sample).__name__} cannot be written. Samples are {plurals}.")


def medium_of_file(path: Path) -> Medium:
    """Returns the row of a file: texts by their ending, clips by what they hold, and images otherwise.

    An animated WebP is a clip, and so is a still one that says how many frames it stands for, because the format merges
    equal frames; a WebP of one picture from elsewhere is an image.
    """
    return MEDIA["text"] if path.suffix == MEDIA["text"].suffix else medium_of_candidate(path)


def medium_of_candidate(media: Media) -> Medium:
    """Returns the row of a candidate of a data set. What cannot be read is an image, of which its reader says what is
    wrong.
    """
    if isinstance(media, KeptLatent):
        media = media.image
    return MEDIA[medium_of_media(media) or "image"]


def medium_of_shown(content: Any) -> Medium:
    """Returns the row of images or of clips for what a page shows: a clip, an image, or the file of either."""
    if isinstance(content, (str, Path)):
        return medium_of_candidate(Path(content))
    return MEDIA["video" if isinstance(content, Clip) else "image"]


def data_uri(image: Any) -> str:
    """Returns an image as a ``data:`` URI: PNG up to 128 pixels, otherwise JPEG after shrinking to 384 pixels."""
    rgb = as_rgb(image)
    out = io.BytesIO()
    if max(rgb.size) <= 128:
        rgb.save(out, format="PNG", optimize=True)
        kind = "png"
    else:
        rgb = rgb.copy()
        rgb.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
        rgb.save(out, format="JPEG", quality=88)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(out.getvalue()).decode()}"


def _write_image(sample: Any, path: Path) -> None:
    write_atomically(path, partial(sample.save, format="PNG"))


def _write_clip(clip: Any, path: Path) -> None:
    write_clip(path, clip)


def _write_text(text: str, path: Path) -> None:
    # As bytes, so that line ends are not converted.
    write_atomically(path, lambda temporary: temporary.write_bytes(text.encode("utf-8", "replace")))


def _read_text(path: Path) -> str:
    return Path(path).read_bytes().decode("utf-8", "replace")


def _show_image(content: Any, label: str) -> str:
    from markupsafe import Markup

    return Markup('<img src="{}" alt="{}">').format(data_uri(content), label)


def _clip_columns(content: Any) -> dict[str, Any]:
    stated = stated_in(content) if isinstance(content, Path) else None
    if stated is None:
        clip = as_clip(content)
        stated = len(clip), clip.fps
    return {"frames": stated[0], "fps": stated[1]}


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
        suffix=".webp",
        fits=lambda sample: isinstance(sample, Clip),
        write=_write_clip,
        read=Path,
        show=show_clip,
        space=CLIP_PIXELS,
        columns=_clip_columns,
        line=str,
        plays=True,
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
        style=text_style,
        line=str,
        sheet=False,
    ),
}

"""Decodes images, from files, bytes or handles, to 8-bit RGB. Image files are treated as untrusted input.

The size is read from the header before decoding, so that a small file cannot expand into gigabytes. Only raster formats
are opened: some other formats would start an external program.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from diffalign.data.media.colour_profile import changes_colours, may_hold_profile, to_srgb
from diffalign.data.records.conversation import Conversation
from diffalign.data.records.pair import Media
from diffalign.data.records.to_sample import ToSample
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.frame_files import FrameFiles, frames_of, is_in_frames
from diffalign.data.storage.kept_latents import KeptLatent
from diffalign.data.storage.lazy_table_cell import TableCell
from diffalign.errors import DataError

MAX_PIXELS = 64_000_000
MAX_DIGESTS = 2**17
"""Digests of files that are remembered: about 40 MB of memory."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_ORIENTATION_TAG, _QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
_ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa", "La")


def media_bytes(media: Media) -> bytes:
    """Returns the encoded bytes of a candidate: UTF-8 for a text, JSON for turns (with their tools).

    Raises:
        DataError: A file cannot be read, or the candidate is tensors.
    """
    if isinstance(media, bytes):
        return media
    if isinstance(media, TableCell):
        return media.read()
    if isinstance(media, str):
        return media.encode("utf-8", "surrogatepass")
    if isinstance(media, Conversation):
        content = {"messages": media.rows(), "tools": media.tools} if media.tools_json else media.rows()
        return json.dumps(content, ensure_ascii=True).encode("ascii")
    if isinstance(media, ToSample):
        raise DataError(f"an image, a video or a text was expected; {media} is made in its round of training.")
    if isinstance(media, (CachedCandidate, KeptLatent)):
        raise DataError(f"an image, a video or a text was expected; {media} is tensors, which only its policy reads.")
    if isinstance(media, FrameFiles) or media.is_dir():
        raise DataError(f"one file was expected; {media_name(media)} is a clip whose frames are files.")
    try:
        return media.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read '{media}': {error.strerror}.") from error


def media_digest(media: Media) -> str:
    """Returns 32 hexadecimal digits of the content: equal bytes have equal digests, wherever they are stored.

    The digest of a :class:`CachedCandidate` is that of its handle: its tensors are not read. That of a
    :class:`KeptLatent` is of its values. Digests of files are remembered while the file keeps its size and its time,
    because several parts of a run ask for them.
    """
    if isinstance(media, CachedCandidate):
        return media.digest()
    if isinstance(media, ToSample):
        return _digest(str(media))
    stamp = _file_stamp(media) if isinstance(media, (Path, TableCell, KeptLatent)) else None
    if stamp is None:
        return _digest(media)
    known = _file_digests.get(media)
    if known is None or known[0] != stamp:
        known = stamp, _digest(media)
        if len(_file_digests) < MAX_DIGESTS:
            _file_digests[media] = known
    return known[1]


def _digest(media: Media) -> str:
    if isinstance(media, KeptLatent):
        return media.digest()
    if isinstance(media, Path) and media.is_dir():
        media = frames_of(media)
    if isinstance(media, FrameFiles):
        parts = [f"{media.fps:g}", *(media_digest(file) for file in media.files)]
        return hashlib.blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()
    return hashlib.blake2b(media_bytes(media), digest_size=16).hexdigest()


def _file_stamp(media: Path | TableCell | KeptLatent) -> tuple[int, ...] | None:
    try:
        facts = os.stat(media if isinstance(media, Path) else media.file)
    except OSError:
        return None
    if stat.S_ISDIR(facts.st_mode):  # whose time is not that of the files in it
        return None
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


_file_digests: dict[Media, tuple[tuple[int, ...], str]] = {}


def decoded_digest(media: Media) -> str:
    """Returns a digest of what :func:`open_image` returns: :func:`media_digest`, marked where a colour profile is
    applied, which earlier versions ignored. What was stored for other images stays valid.
    """
    if isinstance(media, (CachedCandidate, KeptLatent, ToSample)) or is_in_frames(media):
        return media_digest(media)
    content = media_bytes(media)
    digest = media_digest(content)
    if not may_hold_profile(content):
        return digest
    try:
        with _open_header(content) as image:
            return f"{digest}-srgb" if changes_colours(image) else digest
    except DataError:  # whoever decodes it says what is wrong
        return digest


def media_name(media: Media) -> str:
    """Returns the name of a candidate for messages."""
    if isinstance(media, (Path, FrameFiles)):
        return f"'{media}'"
    if isinstance(media, bytes):
        return f"an image of {len(media):,} bytes"
    if isinstance(media, (CachedCandidate, KeptLatent, ToSample)):
        return str(media)
    return f"'{media}'" if isinstance(media, TableCell) else repr(str(media)[:60])


def image_size(media: Media) -> tuple[int, int]:
    """Returns width and height as shown (after the EXIF orientation), from the header only."""
    with _open_header(media) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in _QUARTER_TURNS else (width, height)


def image_format(media: Media) -> str:
    """Returns the format by the first bytes: ``"PNG"``, ``"JPEG"``, ... The file's name is ignored."""
    with _open_header(media) as image:
        return image.format or "unknown"


def open_image(media: Media, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decodes an image to 8-bit RGB as a viewer would show it.

    The EXIF orientation is applied; an embedded colour profile is converted to sRGB; transparency is composited on
    white; palettes, grey, CMYK and 16 bits are converted; an animation is reduced to its first frame.

    Args:
        media: A path, encoded bytes, or a handle.
        max_pixels: Refuse images whose header states more pixels.

    Raises:
        DataError: Not an image, truncated, too large, or of an unknown value range; the message names the image.
    """
    with _open_header(media) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise DataError(
                f"{media_name(media)} claims {width} x {height} pixels, more than the {max_pixels:,} allowed. "
                "If the image is genuine, make it smaller or raise max_pixels."
            )
        image.load()
        return as_shown(image, media_name(media))


def as_shown(image: Image.Image, name: str) -> Image.Image:
    """Returns the current frame of a loaded image as a viewer would show it, in 8-bit RGB, as :func:`open_image`."""
    return _to_rgb(_apply_orientation(image), name, image.format)


@contextmanager
def _open_header(media: Media) -> Iterator[Image.Image]:
    """Yields the image with its header read. Any exception of a decoder inside the block becomes a DataError."""
    if isinstance(media, (str, Conversation)):
        raise DataError(f"an image was expected, as a path or as bytes; got the text {media_name(media)}.")
    if is_in_frames(media):
        raise DataError(f"an image was expected; {media_name(media)} is a clip whose frames are files.")
    try:
        with _stream(media) as stream, Image.open(stream, formats=_readable_formats()) as image:
            yield image
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{media_name(media)} is refused: {error} Make the image smaller.") from error
    except FileNotFoundError as error:
        raise DataError(f"there is no file {media_name(media)}.") from error
    except Exception as error:  # decoders raise exceptions of any type on damaged files
        reason = "unknown image format" if isinstance(error, Image.UnidentifiedImageError) else str(error)
        raise DataError(
            f"{media_name(media)} cannot be decoded: {reason}. Replace the file or drop the pair."
        ) from error


def _stream(media: Media) -> IO[bytes]:
    return media.open("rb") if isinstance(media, Path) else io.BytesIO(media_bytes(media))


def _readable_formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # the pixels may be sound although the EXIF block is damaged
        return 1


def _apply_orientation(image: Image.Image) -> Image.Image:
    if _orientation(image) == 1:
        return image
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # the orientation was read; writing back the rest of a damaged EXIF block failed
        return image


def _to_rgb(image: Image.Image, name: str, format: str | None) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        grey = _reduce_to_8_bits(image, name, format)
        grey.info["icc_profile"] = image.info.get("icc_profile")
        return to_srgb(grey).convert("RGB")
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        image = image.convert("LA" if image.mode == "La" else image.mode if image.mode == "LA" else "RGBA")
        image = to_srgb(image).convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return to_srgb(image).convert("RGB")


def _reduce_to_8_bits(image: Image.Image, name: str, format: str | None) -> Image.Image:
    """Converts a 16-bit grey image to 8 bits. Raises DataError for 32-bit integers and floats, whose range is
    unknown.
    """
    is_16_bit = image.mode.startswith("I;16") or format in ("PNG", "PPM")
    if not is_16_bit or image.mode == "F":
        raise DataError(
            f"{name} is a {format} of mode {image.mode}, whose range is unknown. Save it with 8 or 16 bits."
        )
    values = np.asarray(image).astype(np.float32)
    return Image.fromarray(np.round(values / 257.0).clip(0, 255).astype(np.uint8))

"""Embedded colour profiles: the numbers of an image mean other colours than sRGB's, and are converted as viewers do.

An image that a camera or an editor saved in Display P3 or Adobe RGB looks pale where its profile is ignored, and CMYK
or grey values have a curve of their own. Profiles that are sRGB, as most are, change nothing: the image stays as it is,
to the last bit.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

from PIL import Image

from diffalign.errors import DataError

_KINDS = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_MARKS = (b"ICC_PROFILE", b"iCCP", b"ICCP", b"colrprof", b"colrrICC")
"""What stands before a profile in JPEG, PNG, WebP and AVIF; a TIFF is recognised by its first bytes."""
_TIFF = (b"II", b"MM")
_AS_SRGB = 2
"""Levels of 256 by which a profile may move a colour and still count as sRGB: rounding and other approximations."""


def to_srgb(image: Image.Image) -> Image.Image:
    """Returns the image in sRGB, as RGB or RGBA where its profile changed it, otherwise the image itself.

    A profile that is damaged or for another kind of image is ignored, as viewers do.
    """
    profile = image.info.get("icc_profile")
    if not profile or not isinstance(profile, bytes):
        return image
    transform = _transform(profile, _kind(image))
    if transform is None:
        return image
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA") else None
    converted = _apply(transform, image.convert(_kind(image)))
    if alpha is not None:
        converted.putalpha(alpha)
    return converted


def may_hold_profile(data: bytes) -> bool:
    """Returns whether encoded bytes may hold a colour profile: a search that spares most images their decoder."""
    return data.startswith(_TIFF) or any(mark in data for mark in _MARKS)


def changes_colours(image: Image.Image) -> bool:
    """Returns whether :func:`to_srgb` would convert an image, of which only the header may be read."""
    profile = image.info.get("icc_profile")
    return isinstance(profile, bytes) and _transform(profile, _kind(image)) is not None


def _kind(image: Image.Image) -> str:
    """Returns the mode of an image's colours: grey, CMYK, or RGB for all others."""
    return "L" if image.mode in ("L", "LA") or image.mode.startswith("I") else "CMYK" if image.mode == "CMYK" else "RGB"


@lru_cache(maxsize=64)
def _transform(profile: bytes, mode: str) -> Any:
    """Returns PIL's transform from a profile to sRGB; None where it changes no colour visibly, or cannot be used."""
    try:
        from PIL import ImageCms
    except ImportError:  # a build of PIL without colour management
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _KINDS.get(source.profile.xcolor_space) != mode:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        probe = _probe(mode)
        moved = _apply(transform, probe)
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    largest = max(abs(a - b) for a, b in zip(moved.tobytes(), probe.convert("RGB").tobytes(), strict=True))
    return transform if largest > _AS_SRGB else None


def _apply(transform: Any, image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise DataError("the colour profile of an image cannot be applied. Save the image in sRGB.")
    return converted


def _probe(mode: str) -> Image.Image:
    """Returns an image of colours from all over the range of a mode, by which a profile is compared with sRGB."""
    steps = range(0, 256, 51)
    if mode == "L":
        return Image.frombytes("L", (256, 1), bytes(range(256)))
    if mode == "CMYK":
        return Image.frombytes("CMYK", (36, 1), bytes(v for c in steps for m in steps for v in (c, m, 0, 0)))
    return Image.frombytes("RGB", (36, 6), bytes(v for r in steps for g in steps for b in steps for v in (r, g, b)))

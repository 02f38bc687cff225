"""Claims about embedded colour profiles: an image is read as a viewer shows it, and sRGB changes nothing."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from diffalign.data.media.decode import decoded_digest, media_digest, open_image
from diffalign.data.media.preprocess import prepare_image
from diffalign.scorers.images.image_input import as_rgb
from tests.data.fixtures import encoded, image

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = {b"rXYZ": (0.5151, 0.2412, -0.0011), b"gXYZ": (0.2920, 0.6922, 0.0419), b"bXYZ": (0.1571, 0.0666, 0.7841)}
"""Display P3's primaries, adapted to D50 (SMPTE EG 432-1); its curve is sRGB's."""
FORMATS = [("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0}), ("WEBP", {"lossless": True}), ("TIFF", {})]


def display_p3() -> bytes:
    """The sRGB profile with Display P3's primaries in the places that its table of tags states."""
    profile = bytearray(SRGB)
    for number in range(struct.unpack_from(">I", profile, 128)[0]):
        name, place, _ = struct.unpack_from(">4sII", profile, 132 + 12 * number)
        if name in P3:
            struct.pack_into(">3i", profile, place + 8, *(round(value * 65536) for value in P3[name]))
    return bytes(profile)


def as_shown(colours: np.ndarray) -> np.ndarray:
    """Display P3 to sRGB by its definition: linear light, primaries to XYZ at D50, and back with sRGB's matrix."""
    linear = lambda x: np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    curve = lambda x: np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.clip(x, 0, None) ** (1 / 2.4) - 0.055)
    srgb = np.array([[0.4360, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    xyz = linear(colours / 255) @ np.array(list(P3.values()))
    return np.round(curve((xyz @ np.linalg.inv(srgb).T).clip(0, 1)) * 255)


def _colours(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize(("format", "options"), FORMATS)
def test_an_image_with_a_profile_is_read_as_a_viewer_shows_it(format, options):
    pixels = _colours()
    data = encoded(Image.fromarray(pixels), format, icc_profile=display_p3(), **options)
    expected, seen = as_shown(pixels.astype(float)), np.asarray(open_image(data)).astype(float)
    assert np.abs(expected - pixels).max() > 20  # otherwise the profile changes nothing
    assert np.abs(seen - expected).max() <= (12 if format == "JPEG" else 2)
    assert decoded_digest(data) == f"{media_digest(data)}-srgb"
    with Image.open(io.BytesIO(data)) as opened:
        assert np.abs(np.asarray(as_rgb(opened)).astype(float) - expected).max() <= (12 if format == "JPEG" else 2)


@pytest.mark.parametrize(("format", "options"), FORMATS)
@pytest.mark.parametrize("profile", [SRGB, b"damaged", SRGB[:200], b""])
def test_srgb_and_damaged_profiles_change_no_bit_and_no_stored_tensor(format, options, profile):
    original = Image.fromarray(_colours())
    plain, tagged = encoded(original, format, **options), encoded(original, format, icc_profile=profile, **options)
    assert open_image(plain).tobytes() == open_image(tagged).tobytes()
    assert decoded_digest(tagged) == media_digest(tagged) and decoded_digest(plain) == media_digest(plain)
    assert (prepare_image(open_image(plain), 8) == prepare_image(open_image(tagged), 8)).all()


def test_transparency_is_laid_on_white_after_the_colours_are_converted():
    pixels = np.dstack([_colours(), np.full((16, 16), 255, np.uint8)])
    pixels[:8, :, 3] = 0
    seen = np.asarray(open_image(encoded(Image.fromarray(pixels), icc_profile=display_p3()))).astype(float)
    assert (seen[:8] == 255).all()
    assert np.abs(seen[8:] - as_shown(pixels[8:, :, :3].astype(float))).max() <= 2


def test_palettes_are_converted_and_a_profile_for_another_kind_of_image_is_ignored():
    flat = Image.new("RGB", (8, 8), (200, 40, 40))
    palette = encoded(flat.quantize(4), icc_profile=display_p3())
    assert np.abs(np.array(open_image(palette).getpixel((0, 0))) - as_shown(np.array([200.0, 40, 40]))).max() <= 2
    for mode in ("L", "LA", "I;16"):
        grey = Image.new(mode, (8, 8), {"L": 99, "LA": (99, 255), "I;16": 99 * 257}[mode])
        assert open_image(encoded(grey, icc_profile=display_p3())).getpixel((0, 0)) == (99, 99, 99)
    cmyk = Image.new("CMYK", (8, 8), (0, 200, 200, 20))
    data = encoded(cmyk, "TIFF", icc_profile=display_p3())
    assert open_image(data).getpixel((0, 0)) == cmyk.convert("RGB").getpixel((0, 0))


def test_the_digest_of_what_cannot_be_decoded_is_that_of_its_bytes():
    for data in (b"", b"II*\0", image()[:40], b"iCCP"):
        assert decoded_digest(data) == media_digest(data)

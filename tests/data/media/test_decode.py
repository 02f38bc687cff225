"""Claims about decoding images of any origin, and about framing them."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from diffalign.data.media.decode import image_format, image_size, media_digest, open_image
from diffalign.data.media.preprocess import frame, prepare_image, prepare_pair, to_image
from diffalign.errors import DataError
from tests.data.fixtures import encoded, image

SHARED = Path(os.environ.get("DIFFALIGN_SHARED_DATA", Path(__file__).parents[3] / ".." / "shared" / "data"))


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    )


def half(colour: tuple[int, ...], other: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    """An image of 8 x 4 whose left half has one colour and whose right half has another."""
    image = Image.new(mode, (8, 4), colour)
    image.paste(other, (4, 0, 8, 4))
    return image


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_decompression_bomb_is_refused_by_its_header(side, monkeypatch):
    Image.init()  # some plug-ins decode an image of their own when they are imported
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match="more than the|refused"):
        open_image(bomb(side, side))


def test_the_limit_is_in_pixels_and_can_be_set():
    assert open_image(image(size=(10, 10)), max_pixels=100).size == (10, 10)
    with pytest.raises(DataError, match="10 x 11 pixels, more than the 100 allowed"):
        open_image(image(size=(10, 11)), max_pixels=100)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_file_is_an_error_that_names_it(tmp_path, format):
    whole = image(size=(64, 64), format=format)
    path = tmp_path / "half.img"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="half.img"):
        open_image(path)


@pytest.mark.parametrize("content", [b"", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_bytes_that_are_no_raster_image_are_refused(content):
    with pytest.raises(DataError, match="unknown image format"):
        open_image(content)


def test_a_missing_file_and_a_text_are_refused(tmp_path):
    with pytest.raises(DataError, match="no file .*gone.png"):
        open_image(tmp_path / "gone.png")
    with pytest.raises(DataError, match="got the text"):
        open_image("a red circle")


@given(st.binary(max_size=200), st.integers(0, 400))
def test_damaged_bytes_never_raise_anything_but_a_data_error(noise, where):
    content = bytearray(image(size=(8, 8), format="JPEG"))
    content[where : where + len(noise)] = noise
    with contextlib.suppress(DataError):
        assert open_image(bytes(content)).mode == "RGB"


def test_the_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the image was taken with the camera turned: the first row is the right side
    image = half((255, 0, 0), (0, 0, 255))
    content = encoded(image, "PNG", exif=exif)
    shown = open_image(content)
    assert shown.size == image_size(content) == (4, 8)
    assert shown.getpixel((0, 0)) == (255, 0, 0) and shown.getpixel((0, 7)) == (0, 0, 255)


def test_transparency_is_laid_on_white():
    clear = half((255, 0, 0, 255), (0, 0, 0, 0), "RGBA")
    shown = open_image(encoded(clear))
    assert shown.getpixel((0, 0)) == (255, 0, 0) and shown.getpixel((7, 0)) == (255, 255, 255)
    faint = open_image(encoded(Image.new("LA", (2, 2), (0, 128))))
    assert faint.getpixel((0, 0)) == (127, 127, 127)


def test_a_palette_with_a_clear_colour_is_laid_on_white():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 0, 255, 0])
    image.putpixel((1, 0), 1)
    shown = open_image(encoded(image, transparency=0))
    assert shown.getpixel((0, 0)) == (255, 255, 255) and shown.getpixel((1, 0)) == (0, 255, 0)


def test_grey_bits_and_cmyk_become_rgb():
    assert open_image(encoded(Image.new("L", (2, 2), 77))).getpixel((0, 0)) == (77, 77, 77)
    assert open_image(encoded(Image.new("1", (2, 2), 1))).getpixel((0, 0)) == (255, 255, 255)
    red = open_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")).getpixel((0, 0))
    assert red[0] > 250 and max(red[1:]) < 5


def test_sixteen_bits_are_scaled_and_not_clipped():
    deep = Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16))
    for format in ("PNG", "TIFF"):
        shown = open_image(encoded(deep, format))
        assert [shown.getpixel((x, 0))[0] for x in range(3)] == [0, 100, 255]


def test_a_float_image_of_unknown_range_is_refused():
    with pytest.raises(DataError, match="range is unknown"):
        open_image(encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    assert open_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((0, 0)) == (
        255,
        0,
        0,
    )


def test_the_digest_is_of_the_content(tmp_path):
    (tmp_path / "a.png").write_bytes(image(1))
    assert media_digest(tmp_path / "a.png") == media_digest(image(1)) != media_digest(image(2))
    assert image_format(image(1, format="WEBP")) == "WEBP"


def test_real_generated_images_open():
    folder = SHARED / "image_prefs" / "sac_demo"
    if not folder.is_dir():
        pytest.skip("the folder shared/data is not here")
    files = sorted(folder.glob("*.png"))
    assert len(files) == 18 and all(open_image(file).size == (224, 224) for file in files)


def test_pixels_become_numbers_from_minus_one_to_one_and_back():
    image = half((0, 128, 255), (255, 1, 254))
    pixels = prepare_image(image, (4, 8))
    assert pixels.shape == (3, 4, 8) and pixels.dtype == torch.float32
    assert pixels[0, 0, 0] == -1.0 and pixels[2, 0, 0] == 1.0
    assert np.array_equal(np.asarray(to_image(pixels)), np.asarray(image))


def test_the_middle_is_cut_out_and_the_cut_can_be_moved():
    image = Image.new("RGB", (30, 10), (0, 0, 0))
    image.paste((255, 255, 255), (10, 0, 20, 10))
    assert prepare_image(image, 10).min() == 1.0
    assert prepare_image(image, 10, crop="at", position=(0.0, 0.5)).max() == -1.0
    assert frame((30, 10), 10, crop="at", position=(1.0, 0.5)).left == 20


def test_flip_mirrors_only_the_requested_candidate():
    image = half((255, 0, 0), (0, 0, 255))
    plain, mirrored = prepare_pair(image, image, (4, 8), flip=(False, True))
    assert torch.equal(plain.flip(2), mirrored) and not torch.equal(plain, mirrored)
    both = prepare_pair(image, image, (4, 8), flip=True)
    assert torch.equal(both[0], both[1]) and torch.equal(both[0], mirrored)


@given(
    st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    st.tuples(st.integers(8, 600), st.integers(8, 600)),
    st.sampled_from(["center", "at", "squash", "none"]),
    st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_every_crop_lies_within_the_resized_image(size, resolution, crop, position):
    fit = frame(size, resolution, crop=crop, position=position)
    assert 0 <= fit.left <= fit.width - fit.crop_width and 0 <= fit.top <= fit.height - fit.crop_height
    if crop == "none":
        assert fit.crop_width % 8 == fit.crop_height % 8 == 0
    else:
        assert (fit.crop_height, fit.crop_width) == resolution


def test_uncropped_images_keep_their_shape():
    assert prepare_image(Image.new("RGB", (300, 200)), 64, crop="none").shape == (3, 64, 96)
    assert prepare_image(Image.new("RGB", (300, 200)), 64, crop="squash").shape == (3, 64, 64)
    with pytest.raises(ValueError, match="crop must be"):
        frame((8, 8), 8, crop="middle")

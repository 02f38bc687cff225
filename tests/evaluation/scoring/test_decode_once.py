"""A decoded image is what each scorer would have decoded itself, and handing it on changes nothing."""

import numpy as np
import pytest
from PIL import Image, ImageCms

from diffalign.data.media.clips.medium_of import medium_of
from diffalign.evaluation.scoring.decode_once import decode
from diffalign.scorers.images.image_input import as_rgb

RANDOM = np.random.default_rng(0)
PIXELS = Image.fromarray(RANDOM.integers(0, 256, (9, 14, 3), dtype=np.uint8))


def turned(path):
    exif = Image.Exif()
    exif[0x0112] = 6
    PIXELS.save(path, exif=exif)


def profiled(path):
    # a profile of another gamma and white, which changes colours visibly
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    PIXELS.save(path, icc_profile=profile)


ODD = {
    "plain.png": PIXELS.save,
    "turned.jpg": turned,
    "turned.png": turned,
    "profile.png": profiled,
    "alpha.png": lambda path: PIXELS.convert("RGBA").rotate(20).save(path),
    "palette.png": lambda path: PIXELS.convert("P").save(path, transparency=3),
    "grey16.png": lambda path: Image.fromarray(RANDOM.integers(0, 65536, (9, 14), dtype=np.uint16)).save(path),
    "pixel.png": lambda path: Image.new("RGB", (1, 1), (9, 8, 7)).save(path),
}


@pytest.mark.parametrize("name", ODD)
def test_a_decoded_image_is_what_a_scorer_decodes_itself_and_stays_so(name, tmp_path):
    path = tmp_path / name
    ODD[name](path)
    once = decode(path, "image")
    assert once.tobytes() == as_rgb(path).tobytes() and once.size == as_rgb(path).size
    assert as_rgb(once).tobytes() == once.tobytes() and as_rgb(once).size == once.size


def test_the_medium_of_a_picture_is_found_without_decoding_it(tmp_path, monkeypatch):
    PIXELS.save(tmp_path / "a.png")
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("decoded"))
    assert medium_of(tmp_path / "a.png") == "image"

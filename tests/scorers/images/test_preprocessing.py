"""Preprocessing against the published one: the processors of transformers, the transforms of torchvision that open_clip
and the authors' code are made of. Equal within one grey level of 255 on every size and kind of image.
"""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from diffalign.errors import DataError
from diffalign.scorers.images import image_input
from diffalign.scorers.images.encoders.open_clip_encoder import _preprocessing
from diffalign.scorers.images.image_input import CLIP_MEAN, CLIP_STD, Preprocessing, as_rgb
from diffalign.scorers.images.letterbox import Letterbox
from tests.scorers import tiny
from tests.scorers.images import odd_images

OPEN_CLIP_MODES = ["shortest", "longest", "squash"]
STD = torch.tensor(CLIP_STD)[:, None, None]


def levels(a, b):
    """The largest difference of two normalised images in grey levels."""
    assert a.shape == b.shape
    return float(((a - b) * STD).abs().max() * 255)


def of_transformers(image):
    # transformers 5 names the processor that needs no torchvision apart
    processor = getattr(transformers, "CLIPImageProcessorPil", transformers.CLIPImageProcessor)
    # 4.57 takes a side of 1 or 3 pixels for the channels unless the call says otherwise
    layout = {"input_data_format": "channels_last"} if transformers.__version__ < "5" else {}
    return processor(**tiny.PREPROCESSOR)(image, return_tensors="pt", **layout)["pixel_values"]


def of_open_clip(image, mode="shortest"):
    from open_clip.transform import image_transform

    return image_transform(32, is_train=False, resize_mode=mode)(image)[None]


def of_hpsv2(image, antialias=True):
    """The steps of HPSv2's transform: to a tensor, longest side, borders, normalise."""
    import torchvision.transforms.functional as F
    from torchvision.transforms import InterpolationMode

    pixels = F.to_tensor(image)
    height, width = pixels.shape[1:]
    scale = 32 / float(max(height, width))
    if scale != 1.0:
        new = [round(side * scale) for side in (height, width)]
        pixels = F.resize(pixels, new, InterpolationMode.BICUBIC, antialias=antialias)
        rows, columns = 32 - new[0], 32 - new[1]
        pixels = F.pad(pixels, [columns // 2, rows // 2, columns - columns // 2, rows - rows // 2], fill=0)
    return F.normalize(pixels, CLIP_MEAN, CLIP_STD)[None]


CLIP = Preprocessing.from_config(tiny.PREPROCESSOR)


@pytest.mark.parametrize("size", odd_images.SIZES)
def test_any_size_is_prepared_as_published(size):
    image = odd_images.noise(*size)
    assert levels(CLIP([image]), of_transformers(image)) <= 1
    for mode in OPEN_CLIP_MODES:
        if mode == "longest" and min(size) * 32 < 0.5 * max(size):  # open_clip's resize to 0 pixels fails
            continue
        assert levels(_preprocessing(32, {"resize_mode": mode})([image]), of_open_clip(image, mode)) <= 1, mode


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [s for s in odd_images.SIZES if min(s) * 32 >= 0.5 * max(s)])
def test_a_letterbox_is_that_of_hpsv2(size, antialias):
    image = odd_images.noise(*size)
    assert levels(Letterbox(32, antialias)([image]), of_hpsv2(image, antialias)) <= 1e-3


def test_antialiasing_matters_where_an_image_is_made_smaller():
    image = odd_images.noise(200, 150)
    assert levels(Letterbox(32, True)([image]), Letterbox(32, False)([image])) > 5


def test_a_letterbox_of_the_right_longest_side_gets_its_borders_too():
    """The published code returns it as it is, and the network fails."""
    prepared = Letterbox(32)([Image.new("RGB", (32, 10), "white")])[0] * STD + torch.tensor(CLIP_MEAN)[:, None, None]
    assert prepared.shape == (3, 32, 32)
    assert prepared[:, 11:21].min() > 0.99 and prepared[:, :11].abs().max() < 1e-6 > prepared[:, 21:].abs().max()


@pytest.mark.parametrize("published", [of_transformers, of_open_clip, of_hpsv2])
def test_every_kind_of_image_is_prepared_as_what_a_viewer_shows(published, tmp_path):
    ours = {of_transformers: CLIP, of_open_clip: _preprocessing(32, {}), of_hpsv2: Letterbox(32)}[published]
    for kind, (file, shown) in odd_images.kinds(tmp_path).items():
        with Image.open(file) as opened:
            for image in (file, file.read_bytes(), opened):
                assert levels(ours([image]), published(shown)) <= 1, kind


def test_the_published_code_differs_where_the_docs_say_so(tmp_path):
    """Given the file as PIL opens it, without what a viewer does."""
    found = {}
    for kind, (file, _) in odd_images.kinds(tmp_path).items():
        with Image.open(file) as opened:
            for name, published, ours in (
                ("transformers", of_transformers, CLIP),
                ("torchvision", of_open_clip, _preprocessing(32, {})),
            ):
                theirs, own = published(opened.copy()), ours([file])
                if theirs.shape != own.shape or levels(theirs, own) > 1:
                    found.setdefault(name, set()).add(kind)
    # transformers 4.57 drops the transparency, 5 lays it on white as we do
    assert found["transformers"] - {"transparent RGBA"} == {"16 bits", "EXIF"}
    assert found["torchvision"] == {"transparent RGBA", "16 bits", "EXIF", "palette"}


def test_an_image_in_memory_is_shown_as_its_file_is(tmp_path):
    for file, shown in odd_images.kinds(tmp_path).values():
        with Image.open(file) as opened:
            np.testing.assert_array_equal(np.asarray(as_rgb(opened)), np.asarray(shown))


def test_the_id_says_what_is_done():
    assert str(CLIP) == "32 shortest bicubic, centre crop"
    assert str(_preprocessing(32, {"resize_mode": "longest"})) == "32 longest bicubic, black borders"
    assert str(_preprocessing(32, {"resize_mode": "squash", "interpolation": "bilinear"})) == "32 x 32 bilinear"
    half = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": {"shortest_edge": 40}}
    assert str(Preprocessing.from_config({**tiny.PREPROCESSOR, **half})) == (
        "40 shortest bicubic, centre crop 32 x 32, mean 0.5, std 0.5"
    )
    assert str(Letterbox(224, False)) == "224 longest bicubic on the tensor (not antialiased), black borders"


CROPPED = {"exact": None, "resample": 3, "scale": 1.0, "mean": (0.0,) * 3, "std": (1.0,) * 3}


@pytest.mark.parametrize("size", [(700, 3), (3, 700), (613, 7), (11, 2000), (333, 1)])
@pytest.mark.parametrize("crop", [(224, 224), (100, 224), (224, 100)])
@pytest.mark.parametrize("rounds", [False, True])
def test_the_part_of_a_long_image_is_that_of_the_whole(size, crop, rounds, monkeypatch):
    preprocess = Preprocessing(shortest_edge=224, crop=crop, crop_rounds=rounds, **CROPPED)
    image = odd_images.noise(*size, 1)
    whole = preprocess([image])
    monkeypatch.setattr(image_input, "MOST_PIXELS", 1)
    assert (preprocess([image]) - whole).abs().max() <= 1


def test_a_line_of_pixels_takes_no_more_memory_than_its_crop(monkeypatch):
    made, resize = [], Image.Image.resize

    def noted(self, size, *more, **named):
        made.append(size)
        return resize(self, size, *more, **named)

    monkeypatch.setattr(Image.Image, "resize", noted)
    preprocess = Preprocessing(shortest_edge=224, crop=(224, 224), **CROPPED)
    for size in ((60_000, 1), (1, 60_000), (300_000, 2)):
        assert preprocess([Image.new("RGB", size)]).shape == (1, 3, 224, 224)
    assert max(width * height for width, height in made) <= 224 * 224
    with pytest.raises(DataError, match="is too narrow"):
        Preprocessing(shortest_edge=224, crop=None, **CROPPED)([Image.new("RGB", (60_000, 1))])

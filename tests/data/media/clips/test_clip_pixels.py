import pytest
import torch
from PIL import Image

from diffalign.data.media.clips.clip_pixels import clip_pixels
from diffalign.data.media.preprocess import prepare_image
from diffalign.policies.diffusion.sampling.decode import as_samples
from tests.data.clips import noise


def stacked(clip, resolution, **options):
    return torch.stack(list(clip_pixels(clip, resolution, **options)), dim=1)


@pytest.mark.parametrize("options", [{}, {"crop": "at", "position": (0.1, 0.9)}, {"flip": True}, {"resize": "lanczos"}])
def test_each_frame_is_to_the_bit_what_a_picture_gives(options):
    clip = noise(3, 50, 31)
    pixels = stacked(clip, (16, 24), **options)
    assert pixels.shape == (3, 3, 16, 24) and pixels.dtype == torch.float32
    for k, frame in enumerate(clip.frames):
        assert torch.equal(pixels[:, k], prepare_image(Image.fromarray(frame), (16, 24), **options))


def test_a_clip_of_one_frame_is_the_picture():
    clip = noise(1)
    assert torch.equal(stacked(clip, 16)[:, 0], prepare_image(Image.fromarray(clip.frames[0]), 16))


def test_pixels_become_the_clip_again():
    clip = noise(4, 24, 24)
    assert as_samples(None, stacked(clip, 24)[None], clip.fps) == [clip]

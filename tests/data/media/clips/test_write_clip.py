import numpy as np
import pytest
from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.clips.write_clip import encode_clip, write_clip
from tests.data.clips import moving, noise


def _still(frames, fps):
    return Clip(np.repeat(noise(1).frames, frames, axis=0), fps)


def _pairs(fps):
    return Clip(np.repeat(noise(3).frames, 2, axis=0), fps)


@pytest.mark.parametrize(
    "clip",
    [noise(), _still(8, 8.0), _pairs(8.0), noise(1), noise(9, 31, 17, fps=30000 / 1001), _pairs(240.0), moving(16)],
    ids=["noise", "still", "merged", "one frame", "odd", "fast", "moving"],
)
def test_a_written_clip_is_read_back_to_the_bit_with_all_of_its_frames(tmp_path, clip):
    found = open_clip(write_clip(tmp_path / "a.webp", clip))
    assert found == clip and len(found) == len(clip)
    assert open_clip(encode_clip(clip)) == clip


def test_the_file_is_an_ordinary_animation_that_ends_when_the_clip_does(tmp_path):
    with Image.open(write_clip(tmp_path / "a.webp", noise(8, fps=30.0))) as image:
        durations = []
        for k in range(image.n_frames):
            image.seek(k)
            image.load()
            durations.append(image.info["duration"])
    assert sum(durations) == 267 and len(durations) == 8


def test_a_rule_sees_the_frames_that_the_format_merged(tmp_path):
    path = write_clip(tmp_path / "a.webp", _still(8, 8.0))
    assert len(open_clip(path, FrameRule("rate", frames=8, fps=8))) == 8
    assert len(open_clip(path, FrameRule("rate", frames=16, fps=16))) == 16


def test_equal_clips_give_equal_bytes_and_nothing_partial_stays(tmp_path):
    write_clip(tmp_path / "a.webp", noise())
    assert (tmp_path / "a.webp").read_bytes() == encode_clip(noise()) and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    "frames, fps, word",
    [
        (np.zeros((2, 4, 4), np.uint8), 8.0, "shape"),
        (np.zeros((2, 4, 4, 3), np.float32), 8.0, "uint8"),
        (np.zeros((0, 4, 4, 3), np.uint8), 8.0, "at least one"),
        (np.zeros((2, 4, 4, 3), np.uint8), 0.0, "fps"),
        ([1], 8.0, "list"),
    ],
)
def test_what_is_no_clip_is_refused(frames, fps, word):
    with pytest.raises(ValueError, match=word):
        Clip(frames, fps)


def test_too_large_a_clip_cannot_be_written():
    with pytest.raises(ValueError, match="16,383"):
        encode_clip(Clip(np.zeros((2, 1, 16384, 3), np.uint8), 8.0))

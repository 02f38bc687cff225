"""Which frames a judge sees, and at what size: the worked cases of the published rules."""

import pytest

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.take_frames import take_frames
from diffalign.errors import DataError
from diffalign.scorers.clips.judged_quality import split_argument
from diffalign.scorers.vision_language.frames import ByRate, UpTo
from diffalign.scorers.vision_language.qwen2_vl_pixels import fitted_sides


def seen(rule, count, fps):
    times = [k / fps for k in range(count)]
    return rule.choose(times, count / fps)


@pytest.mark.parametrize(
    ("count", "fps", "expected"),
    [
        (8, 8.0, [0, 2, 5, 7]),  # one second: at least four frames
        (3, 8.0, [0, 2]),  # an even number, and never more than there are
        (2, 8.0, [0, 1]),
        (1, 8.0, [0]),
        (48, 8.0, [0, 4, 9, 13, 17, 21, 26, 30, 34, 38, 43, 47]),  # six seconds: twelve frames
        (6, 1.0, [0, 1, 2, 3, 4, 5]),  # six seconds ask for twelve frames, there are six
    ],
)
def test_two_frames_a_second_are_spread_over_the_clip(count, fps, expected):
    assert seen(ByRate(rate=2.0), count, fps) == expected


def test_no_more_than_768_frames_are_seen():
    assert len(seen(ByRate(rate=2.0), 2000, 1.0)) == 768


def test_a_long_clip_is_thinned_evenly_from_its_first_frame():
    assert seen(UpTo(most=4), 10, 8.0) == [0, 2, 5, 7] and seen(UpTo(most=4), 4, 8.0) == [0, 1, 2, 3]
    assert seen(UpTo(most=4), 2, 8.0) == [0, 1]


def test_a_rule_takes_the_frames_of_a_clip_in_memory():
    import numpy as np

    clip = Clip(np.arange(8, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3), 8.0)
    assert take_frames(clip, ByRate(rate=2.0)).frames[:, 0, 0, 0].tolist() == [0, 2, 5, 7]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (448, 448, (448, 448)),
        (1024, 1024, (448, 448)),
        (64, 64, (448, 448)),
        (512, 768, (364, 532)),  # 365.8 x 548.7 of 200,704 pixels, down to multiples of 28
        (100, 300, (280, 784)),  # 258.6 x 776: up to multiples of 28
        (20, 4000, (56, 6356)),
    ],
)
def test_sides_are_multiples_of_28_at_about_the_same_ratio(height, width, expected):
    assert fitted_sides(height, width, 200704, 200704) == expected


def test_sides_within_the_limits_are_rounded_only():
    assert fitted_sides(300, 430, 100352, 200704) == (308, 420)
    with pytest.raises(DataError, match="too narrow"):
        fitted_sides(1, 201, 1, 10**9)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [("", ("", "")), ("MQ", ("MQ", "")), ("mq:a/b", ("MQ", "a/b")), ("a/b", ("", "a/b")), ("./MQ", ("", "./MQ"))],
)
def test_an_argument_names_a_quality_and_a_source(argument, expected):
    assert split_argument(argument, ("VQ", "MQ", "TA")) == expected

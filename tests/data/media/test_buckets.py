"""Aspect-ratio buckets: sizes of about one area, and the one that fits a pair."""

import math

import pytest

from diffalign.data.media.buckets import Fit, bucket_sizes, cut_off, nearest_size

LAYOUTS = [(512, 64, 2.0), (1024, 64, 2.0), (1024, 32, 3.0), (768, 64, 1.5), (64, 8, 4.0)]


@pytest.mark.parametrize(("side", "step", "widest"), LAYOUTS)
def test_sizes_have_at_most_the_area_of_the_square_and_sides_of_whole_steps(side, step, widest):
    sizes = bucket_sizes(side, step, widest)
    assert (side, side) in sizes and len(set(sizes)) == len(sizes)
    assert all(height % step == 0 == width % step for height, width in sizes)
    assert all(max(size) / min(size) <= widest for size in sizes)
    assert {(width, height) for height, width in sizes} == set(sizes)
    areas = [height * width / side**2 for height, width in sizes]
    assert max(areas) == 1.0 and min(areas) > 1 - step * 1.5 / side * widest**0.5


def test_the_sizes_of_stable_diffusion_are_those_that_people_know():
    assert bucket_sizes(512, 64, 2.0) == (
        (640, 384),
        (576, 448),
        (512, 512),
        (448, 576),
        (384, 640),
    )
    assert {(1152, 896), (1216, 832), (1344, 768)} <= set(bucket_sizes(1024, 64, 2.0))


@pytest.mark.parametrize(
    ("shown", "size"),
    [
        ([(512, 512)], (512, 512)),
        ([(3000, 2000)], (384, 640)),
        ([(2000, 3000)], (640, 384)),
        ([(10000, 100)], (384, 640)),
        ([(640, 384), (384, 640)], (512, 512)),
        ([(1280, 768), (512, 512)], (448, 576)),
    ],
)
def test_a_pair_has_the_size_nearest_to_the_mean_of_its_ratios(shown, size):
    assert nearest_size(bucket_sizes(512, 64, 2.0), shown) == size


def test_turning_a_pair_turns_its_size():
    sizes = bucket_sizes(1024, 64, 2.0)
    for width in range(500, 2000, 37):
        height, wide = nearest_size(sizes, [(width, 1000)])
        assert nearest_size(sizes, [(1000, width)]) == (wide, height)


def test_what_is_cut_off_is_a_share_of_the_resized_picture():
    assert cut_off((512, 512), (512, 512)) == 0.0
    assert cut_off((1024, 512), (512, 512)) == pytest.approx(0.5)
    assert cut_off((1024, 512), (384, 640)) == pytest.approx(1 - 640 / 768, abs=2e-3)


def test_the_summary_counts_pairs_and_compares_with_squares():
    summary = Fit({(384, 640): 12, (512, 512): 3}, 0.012, 0.21).summary()
    assert summary == "640x384 (12 pairs), 512x512 (3); cut off 1.2% of a picture (squares: 21.0%)"


def test_every_ratio_up_to_the_widest_loses_little():
    sizes = bucket_sizes(1024, 64, 2.0)
    for k in range(-50, 51):
        ratio = math.exp(math.log(1.9) * k / 50)
        shown = (round(2000 * ratio), 2000)
        assert cut_off(shown, nearest_size(sizes, [shown])) < 0.09

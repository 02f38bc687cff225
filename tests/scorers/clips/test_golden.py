"""The measures on clips whose scores are known from their definitions."""

import numpy as np
import pytest
import torch

from diffalign.data.media.clips.clip import Clip
from diffalign.scorers.clips.flicker import flicker
from diffalign.scorers.clips.flow_dynamic import flow_dynamic
from diffalign.scorers.clips.flow_motion import fastest_motion, flow_motion
from diffalign.scorers.clips.flow_smoothness import flow_smoothness
from diffalign.scorers.clips.neighbour_consistency import neighbour_consistency
from diffalign.scorers.clips.optical_flow import load_flow
from diffalign.scorers.clips.still_blend import odd_with_neighbours, still_blend
from tests.scorers.clips import golden

CLIPS = golden.clips()
# by hand: two columns of 2 x 16 pixels change by 190 + 20 + 20 in each step
MOVING = 1 - 2 * 2 * 16 * (190 + 20 + 20) / (64 * 64 * 3 * 255)


@pytest.fixture
def dis():
    pytest.importorskip("cv2")
    return load_flow("dis", "flow_motion")


@pytest.fixture
def farneback():
    pytest.importorskip("cv2")
    return load_flow("farneback", "flow_motion")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("still", 1.0), ("moving", MOVING), ("jerky", 0.995615), ("flicker", 1 - 40 / 255)],
)
def test_flicker_has_its_golden_values(name, expected):
    assert flicker(CLIPS[name].frames) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("still", 1.0), ("moving", MOVING), ("jerky", 0.995302), ("flicker", 1 - 40 / 255)],
)
def test_still_blend_has_its_golden_values(name, expected):
    assert still_blend(CLIPS[name].frames) == pytest.approx(expected, abs=1e-6)


def test_white_noise_flickers_by_a_third_of_the_range():
    assert flicker(CLIPS["noise"].frames) == pytest.approx(2 / 3, abs=2e-3)


@pytest.mark.parametrize(
    ("name", "expected"), [("still", 1.0), ("moving", 0.999918), ("jerky", 0.995304), ("flicker", 0.843137)]
)
def test_flow_smoothness_has_its_golden_values(dis, name, expected):
    assert flow_smoothness(CLIPS[name].frames, dis) == pytest.approx(expected, abs=1e-3)


def test_flow_smoothness_forgives_steady_motion_and_not_jerks(dis):
    smooth = {name: flow_smoothness(clip.frames, dis) for name, clip in CLIPS.items()}
    assert smooth["moving"] > 1 - (1 - still_blend(CLIPS["moving"].frames)) / 20
    assert smooth["jerky"] == pytest.approx(still_blend(CLIPS["jerky"].frames), abs=1e-4)
    assert smooth["pan"] > 0.99 > still_blend(CLIPS["pan"].frames)
    assert smooth["noise"] < 0.75


@pytest.mark.parametrize(
    ("name", "by_dis", "by_farneback"),
    [("still", 0.0, 0.0), ("moving", 1.956, 2.0), ("jerky", 1.84, 1.866), ("flicker", 0.0, 0.0)],
)
def test_the_fastest_motion_has_its_golden_values(dis, farneback, name, by_dis, by_farneback):
    tolerance = 6e-3 if name == "jerky" else 1e-3
    assert fastest_motion(CLIPS[name], dis).mean() == pytest.approx(by_dis, abs=tolerance)
    assert fastest_motion(CLIPS[name], farneback).mean() == pytest.approx(by_farneback, abs=tolerance)
    assert flow_motion(CLIPS[name], dis) == pytest.approx(by_dis / 64, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "steps"), [("still", 0), ("moving", 15), ("jerky", 7), ("flicker", 0), ("noise", 15), ("pan", 15)]
)
def test_a_clip_is_dynamic_when_a_quarter_of_its_steps_move(dis, farneback, name, steps):
    for flow in (dis, farneback):
        assert (fastest_motion(CLIPS[name], flow) > 1.5).sum() == steps
        assert flow_dynamic(CLIPS[name], flow) == (steps >= 4)


def test_two_still_frames_are_not_dynamic_and_two_that_move_are(dis):
    assert not flow_dynamic(golden.square([4, 4]), dis)
    assert flow_dynamic(golden.square([4, 7]), dis)


def test_motion_is_measured_at_eight_frames_per_second(dis):
    fast = golden.square([4 + f // 3 * 2 for f in range(24)], fps=24.0)
    slow = golden.square([4 + 2 * f for f in range(8)], fps=8.0)
    np.testing.assert_array_equal(fastest_motion(fast, dis), fastest_motion(slow, dis))


def test_flow_points_where_things_move(dis, farneback):
    clip = CLIPS["moving"]
    for flow in (dis, farneback):
        motion = flow(clip.frames[3], clip.frames[4])[26:38, 12:22].mean(axis=(0, 1))
        assert motion[0] == pytest.approx(2.0, abs=0.1) and abs(motion[1]) < 0.1


def test_odd_frames_of_an_even_clip_leave_out_the_last():
    for frames, expected in ((3, [1]), (4, [1]), (5, [1, 3]), (6, [1, 3])):
        left, middle, right = odd_with_neighbours(np.arange(frames))
        assert middle.tolist() == expected
        assert left.tolist() == [f - 1 for f in expected] and right.tolist() == [f + 1 for f in expected]


def test_neighbour_consistency_is_the_mean_of_clipped_cosines_to_the_previous_and_the_first():
    e = torch.tensor([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    # frame 1: (0.6 + 0.6) / 2; frame 2: (max(0, -0.6) + max(0, -1)) / 2
    assert neighbour_consistency(e) == pytest.approx(0.3)
    assert neighbour_consistency(e[:1].expand(5, 2)) == 1.0
    assert Clip(CLIPS["still"].frames, 8.0) == CLIPS["still"]

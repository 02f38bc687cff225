import math

import pytest

from diffalign.data.media.clips.frame_rule import FrameRule, end_of

VARIABLE = [0, 0.04, 0.08, 0.5, 0.54, 0.58, 2.0, 2.04]


def _constant(fps, frames):
    return [k / fps for k in range(frames)], frames / fps


@pytest.mark.parametrize(
    "fps, expected",
    [
        (24, [0, 3, 6, 9, 12, 15, 18, 21]),
        (30, [0, 3, 7, 11, 15, 18, 22, 26]),
        (30000 / 1001, [0, 3, 7, 11, 14, 18, 22, 26]),
        (8, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_rate_takes_what_a_viewer_sees_at_each_time(fps, expected):
    assert FrameRule("rate", frames=8, fps=8).choose(*_constant(fps, math.ceil(fps))) == expected


def test_rate_repeats_each_frame_of_a_slower_clip_and_what_is_seen_longer_at_a_variable_rate():
    assert FrameRule("rate", frames=12, fps=24).choose(*_constant(8, 8)) == [k // 3 for k in range(12)]
    chosen = FrameRule("rate", frames=16, fps=8).choose(VARIABLE, end_of(VARIABLE, 0.04))
    assert chosen[:10] == [0, 2, 2, 2, 3, 5, 5, 5, 5, 5]


def test_times_that_a_container_rounded_to_milliseconds_choose_the_same_frames():
    times = [round(k / 24, 3) for k in range(48)]
    assert FrameRule("rate", frames=20, fps=12).choose(times, 2.0) == list(range(0, 40, 2))


def test_the_rules_that_spread_over_the_whole():
    times, end = _constant(24, 48)
    assert FrameRule("span", frames=16).choose(times, end) == list(range(1, 48, 3))
    assert FrameRule("linspace", frames=16).choose(times, end)[:5] == [0, 3, 6, 9, 13]
    assert FrameRule("linspace", frames=16).choose(times, end)[-1] == 47
    assert FrameRule("arange", frames=16).choose(times, end) == list(range(0, 48, 3))
    assert FrameRule("span", frames=4, short="hold").choose(*_constant(8, 2)) == [0, 0, 1, 1]


def test_stride_takes_every_frame_where_there_are_too_few():
    rule = FrameRule("stride", frames=16, stride=4)
    assert rule.choose(*_constant(24, 64)) == list(range(0, 64, 4))
    assert rule.choose(*_constant(24, 63)) == list(range(16))
    assert rule.result_fps(*_constant(24, 64)) == pytest.approx(6) and rule.result_fps(*_constant(24, 63)) == 24


def test_start_is_a_fraction_of_the_free_length():
    times, end = _constant(24, 96)  # 4 s, of which 2 are free
    for start, first in ((0.0, 0), (0.5, 24), (1.0, 48)):
        assert FrameRule("rate", frames=16, fps=8, start=start).choose(times, end)[0] == first
    assert FrameRule("stride", frames=16, stride=4, start=1.0).choose(times, end) == list(range(32, 96, 4))


def test_a_short_clip_gives_fewer_frames_or_holds_the_last():
    times, end = _constant(8, 5)
    assert FrameRule("rate", frames=8).choose(times, end) == [0, 1, 2, 3, 4]
    assert FrameRule("rate", frames=8, short="hold").choose(times, end) == [0, 1, 2, 3, 4, 4, 4, 4]
    assert FrameRule("stride", frames=8, short="hold").choose(times, end) == [0, 1, 2, 3, 4, 4, 4, 4]


def test_times_count_from_the_first_frame():
    times, end = _constant(24, 24)
    shifted = FrameRule("rate", frames=8).choose([t + 1.4 for t in times], end + 1.4)
    assert shifted == FrameRule("rate", frames=8).choose(times, end)


def test_the_identity_differs_exactly_where_other_frames_could_be_chosen():
    rules = [
        FrameRule(),
        FrameRule(frames=8),
        FrameRule(fps=12),
        FrameRule(short="hold"),
        FrameRule(start=0.25),
        FrameRule("span"),
        FrameRule("stride"),
        FrameRule("stride", stride=2),
    ]
    assert len({rule.identity for rule in rules}) == len(rules)
    assert FrameRule("span", fps=3, stride=9, start=0.5).identity == FrameRule("span").identity


@pytest.mark.parametrize(
    "wrong", [{"kind": "best"}, {"short": "pad"}, {"frames": 0}, {"stride": 0}, {"fps": 0}, {"start": 1.5}]
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if "kind" not in wrong else "rate, span, stride"):
        FrameRule(**wrong)

"""The video benchmark compares equal work: the same layers train, and with one beta from a margin of 0."""

from __future__ import annotations

import math

import pytest

from benchmarks.image_setting import make_model
from benchmarks.measure import Measurement
from benchmarks.raw_video import BETA, RawVideoLoop
from benchmarks.video_setting import make_clips, make_motion
from benchmarks.video_step import prepare_diffalign, prepare_encoding, prepare_raw, table

FRAMES = 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("video")
    make_model(folder / "model")
    make_motion(folder / "motion")
    make_clips(folder / f"clips-{FRAMES}", 4, FRAMES)
    return folder


def test_both_loops_train_the_same_layers_with_one_beta(root):
    ours, raw = prepare_diffalign(root, FRAMES), prepare_raw(root, FRAMES)
    loop: RawVideoLoop = raw.__self__
    run = ours.args[0]
    assert sorted(p.shape for p in run.policy.trainable().values()) == sorted(p.shape for p in loop.parameters)
    assert raw() == pytest.approx(math.log(2), abs=1e-5)
    ours()
    assert run.step == 1 and run.gradient_computer.loss.beta == BETA
    assert prepare_encoding(root, FRAMES)() is None


def test_the_table_shows_each_ratio_with_its_bar():
    names = [f"{kind}, {frames} frames{more}" for kind in ("raw", "diffalign") for frames in (4, 8)
             for more in ("", ", checkpointing")]  # fmt: skip
    names += ["encode, 8 frames", "encode, 32 frames"]
    results = {name: Measurement([2.0 if name.startswith("diffalign") else 1.0], [10.0]) for name in names}
    text = table(results, [4, 8])
    assert text.count("2.00    1.00") == 3 and "checkpointing, 8 frames" in text

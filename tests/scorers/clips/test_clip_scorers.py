"""What single scorers of clips promise beyond the battery."""

import sys

import numpy as np
import pytest
import torch

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.errors import DataError, UserError
from diffalign.scorers import check_companions, load_scorer
from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.display_name import display_name
from tests.scorers import tiny
from tests.scorers.clips import golden


@pytest.fixture(scope="module")
def dual(tmp_path_factory):
    return tiny.dual_encoder(tmp_path_factory.mktemp("dual"))


def test_frame_mean_is_the_mean_of_the_cosines_and_blind_to_order(dual):
    clip, clip_score = golden.clips()["pan"], load_scorer(f"clip:{dual}")
    frames = load_scorer(f"frames:clip:{dual}")
    expected = clip_score.score(["a fox"] * 16, list(clip.frames)).mean()
    backwards = Clip(np.ascontiguousarray(clip.frames[::-1]), clip.fps)
    scores = frames.score(["a fox"] * 2, [clip, backwards])
    torch.testing.assert_close(scores, expected.expand(2), rtol=1e-6, atol=1e-6)
    assert frames.unit == "cosine, mean over frames" and frames.weights == clip_score.weights


def test_a_frame_scorer_checks_prompts_as_its_scorer_of_images():
    frames = load_scorer("frames:background:prompt")
    frames.check_prompts(["a red fox"])
    with pytest.raises(DataError, match="names no colour"):
        frames.check_prompts(["a fox"])
    still = Clip(np.full((3, 32, 32, 3), (196, 30, 48), np.uint8), 8.0)
    assert frames.score(["a red fox"], [still]).tolist() == [1.0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("frames", "write frames:clip"),
        ("frames:sentiment", "another medium"),
        ("frames:flicker", "another medium"),
        ("frames:frames:background:red", "another medium"),
        ("frames:nothing", "no scorer 'nothing'"),
        ("neighbour_consistency", "needs an encoder"),
        ("flicker:dis", "takes no argument"),
        ("flow_dynamic:raft", "dis or farneback"),
        ("flow_motion:farnebeck", "Did you mean 'farneback'"),
    ],
)
def test_a_wrong_argument_is_named_with_what_to_write(spec, message):
    pytest.importorskip("cv2")
    with pytest.raises(UserError, match=message):
        load_scorer(spec)


@pytest.mark.parametrize("name", ["flow_dynamic", "flow_motion", "flow_smoothness"])
def test_without_opencv_the_extra_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match=r"needs OpenCV.*pip install 'diffalign\[flow\]'"):
        load_scorer(name)


@pytest.mark.parametrize("name", ["flicker", "still_blend"])
def test_a_score_that_prefers_still_clips_needs_a_measure_of_motion_beside_it(name):
    with pytest.raises(UserError, match=f"{name} alone prefers clips that stand still.*--scorer flow_dynamic"):
        check_companions([name, "flow_smoothness"])
    check_companions([name, "flow_dynamic"])
    check_companions(["flow_motion:farneback", name])
    check_companions(["flow_smoothness"])


def test_flow_needs_frames_of_sixteen_pixels_and_two_steps_of_time():
    pytest.importorskip("cv2")
    flow = load_scorer("flow_motion")
    with pytest.raises(DataError, match="at least 16 pixels a side; got 40 x 15"):
        flow.score(["a"], [Clip(np.zeros((3, 15, 40, 3), np.uint8), 8.0)])
    assert flow.score(["a"], [Clip(np.zeros((3, 16, 17, 3), np.uint8), 8.0)]).tolist() == [0.0]
    with pytest.raises(DataError, match="3 frames at 24 frames per second has one frame"):
        flow.score(["a"], [Clip(np.zeros((3, 32, 32, 3), np.uint8), 24.0)])


def test_flow_does_not_depend_on_the_clips_before():
    pytest.importorskip("cv2")
    rng, flow, clip = np.random.default_rng(0), load_scorer("flow_motion"), golden.clips()["moving"]
    small = Clip(rng.integers(0, 256, (3, 20, 24, 3), np.uint8), 8.0)
    assert flow.score(["a"], [clip]).equal(flow.score(["a"] * 2, [small, clip])[1:])


def test_a_rule_chooses_frames_of_a_clip_in_memory_as_of_a_file(tmp_path):
    from diffalign.data.media.clips.write_clip import write_clip

    clip = golden.clips()["moving"]
    for rule in (FrameRule("span", 5), FrameRule("rate", 4, fps=4.0), FrameRule("stride", 4, stride=2)):
        assert as_clip(clip, rule=rule) == as_clip(write_clip(tmp_path / "x.webp", clip), rule=rule)


def test_a_scorer_of_frames_is_shown_without_the_path(dual):
    assert display_name(f"frames:clip:{dual}") == f"frame-mean CLIP {dual.name}"
    assert display_name("frames:pickscore") == "frame-mean PickScore"
    assert display_name(f"neighbour_consistency:{dual}") == f"neighbour_consistency:{dual.name}"


@pytest.fixture(scope="module")
def x_clip(tmp_path_factory):
    return tiny.x_clip(tmp_path_factory.mktemp("x"))


def test_x_clip_is_the_cosine_of_its_own_logits_over_the_middles_of_equal_parts(x_clip):
    from transformers import AutoTokenizer, XCLIPModel

    from diffalign.scorers.images.image_input import load_preprocessing

    clip, prompt = golden.clips()["pan"], "a fox on a red background"
    model = XCLIPModel.from_pretrained(x_clip).eval()
    pixels = load_preprocessing(str(x_clip))(list(clip.frames[[2, 6, 10, 14]]))  # of 16 frames, floor((k + 1/2) 16 / 4)
    tokens = AutoTokenizer.from_pretrained(x_clip)([prompt, "two foxes"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**tokens, pixel_values=pixels[None]).logits_per_video / model.logit_scale.exp()
    score = load_scorer(f"xclip:{x_clip}").score([prompt, "two foxes"], [clip, clip])
    torch.testing.assert_close(score, logits[0], rtol=1e-5, atol=1e-6)
    assert abs(float(score[0] - score[1])) > 1e-3


def test_x_clip_sees_the_order_of_frames_and_repeats_those_of_short_clips(x_clip):
    scorer, frames = load_scorer(f"xclip:{x_clip}"), golden.clips()["pan"].frames
    backwards = Clip(np.ascontiguousarray(frames[::-1]), 8.0)
    there, back = scorer.score(["a fox"] * 2, [Clip(frames, 8.0), backwards])
    assert abs(float(there - back)) > 1e-6
    short, held = scorer.score(["a fox"] * 2, [Clip(frames[:2], 8.0), Clip(frames[[0, 0, 1, 1]], 8.0)])
    assert short == held


def test_x_clip_needs_an_x_clip(dual):
    with pytest.raises(UserError, match="is a CLIPModel, and xclip needs an XCLIPModel"):
        load_scorer(f"xclip:{dual}")


def test_pairs_of_clips_are_scored_by_the_command_line(tmp_path):
    pytest.importorskip("cv2")
    from diffalign.data.media.clips.write_clip import write_clip
    from diffalign.data.records.score_table import read_scores
    from tests.cli.test_commands import call
    from tests.data.fixtures import jsonl

    known = golden.clips()
    for name in ("moving", "still"):
        write_clip(tmp_path / f"{name}.webp", known[name])
    row = {"chosen_file_name": "moving.webp", "rejected_file_name": "still.webp", "prompt": "a square moves"}
    jsonl(tmp_path / "metadata.jsonl", [row])
    with pytest.raises(UserError, match="flicker alone"):
        call("score", tmp_path, "--scorer", "flicker")
    output = call("score", tmp_path, "--scorer", "flicker", "--scorer", "flow_motion:farneback")
    assert "agrees with 0.0% of the votes" in output and "agrees with 100.0% of the votes" in output
    (scores,) = read_scores(tmp_path / "scores" / "flow_motion_farneback.jsonl").rows.values()
    assert scores == (pytest.approx(2.0 / 64, abs=1e-4), 0.0)

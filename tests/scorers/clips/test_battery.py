"""What every scorer of clips promises, checked for every row of the table on tiny random models."""

import numpy as np
import pytest
import torch

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.write_clip import encode_clip, write_clip
from diffalign.errors import DataError, UserError
from diffalign.scorers import SCORERS, load_scorer
from diffalign.scorers.registry import BUILT_IN
from diffalign.scorers.scorer import SupportsHits, SupportsImageFeatures, SupportsPromptCheck
from tests.scorers import laws, tiny, tiny_vision_language
from tests.scorers.clips import golden

CLIPS = [name for name, row in SCORERS.items() if row.medium == "video" and name in BUILT_IN]
PROMPTS = ["a fox on a red background", "two foxes", "a fox on a red background", "a pineapple on a blue background"]
SHORTEST = {"flicker": 2, "neighbour_consistency": 2, "still_blend": 3, "flow_smoothness": 3, "flow_dynamic": 2}
SHORTEST |= {"flow_motion": 2, "video_reward": 2}
CHECKS_PROMPTS = {"frames", "video_reward", "video_score"}
NEEDS_OPENCV = {"flow_smoothness", "flow_dynamic", "flow_motion"}


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    dual = tiny.dual_encoder(tmp_path_factory.mktemp("dual"))
    plain = dict.fromkeys(("flicker", "still_blend", "flow_smoothness"), "")
    flows = {"flow_dynamic": "dis", "flow_motion": "farneback"}
    reward, score = tmp_path_factory.mktemp("reward"), tmp_path_factory.mktemp("score")
    tiny_vision_language.video_reward(reward)
    tiny_vision_language.video_score_idefics2(score)
    learned = {
        "neighbour_consistency": dual,
        "frames": f"clip:{dual}",
        "xclip": tiny.x_clip(tmp_path_factory.mktemp("x")),
        "video_reward": reward,
        "video_score": score,
    }
    function = tmp_path_factory.mktemp("function") / "mine.py"
    function.write_text("def area(prompts, clips):\n    return [float(clip.frames[0].size) for clip in clips]\n")
    return {**plain, **flows, **learned, "clip_function": f"{function}:area"}


@pytest.fixture(scope="module", params=CLIPS)
def scorer(request, arguments):
    if request.param in NEEDS_OPENCV:
        pytest.importorskip("cv2")
    argument = arguments[request.param]
    return load_scorer(f"{request.param}:{argument}" if argument else request.param)


def clips():
    rng = np.random.default_rng(1)
    odd = Clip(rng.integers(0, 256, (5, 33, 47, 3), dtype=np.uint8), 12.5)
    known = golden.clips()
    return [known["moving"], odd, known["still"], known["jerky"]]


def test_every_row_has_a_case(arguments):
    assert set(arguments) == set(CLIPS)


def test_a_scorer_has_the_optional_abilities_of_its_row(scorer):
    assert isinstance(scorer, SupportsPromptCheck) == (scorer.name.partition(":")[0] in CHECKS_PROMPTS)
    assert not isinstance(scorer, SupportsHits) and not isinstance(scorer, SupportsImageFeatures)


def test_scores_are_one_float32_per_clip_within_the_stated_range(scorer):
    scores = scorer.score(PROMPTS, clips())
    assert scores.shape == (4,) and scores.dtype == torch.float32 and scores.device.type == "cpu"
    assert scores.isfinite().all() and len(set(scores.tolist())) > 1
    assert (scores >= scorer.range[0]).all() and (scores <= scorer.range[1]).all()


def test_no_clips_give_no_scores(scorer):
    assert scorer.score([], []).shape == (0,) and scorer.score([], []).dtype == torch.float32


def test_a_batch_scores_as_one_at_a_time_in_any_order(scorer):
    order, samples = [2, 0, 3, 1], clips()
    together = scorer.score(PROMPTS, samples)
    alone = torch.cat([scorer.score([PROMPTS[i]], [samples[i]]) for i in order])
    torch.testing.assert_close(together[order], alone, rtol=1e-5, atol=1e-5)


def test_paths_and_bytes_score_as_the_clip(scorer, tmp_path):
    for clip in clips():
        path = write_clip(tmp_path / "x.webp", clip)
        same = [clip, path, str(path), encode_clip(clip)]
        scores = scorer.score(PROMPTS[:1] * 4, same)
        torch.testing.assert_close(scores, scores[:1].expand(4), rtol=1e-6, atol=1e-6)


def test_scoring_leaves_the_frames_alone(scorer):
    clip = clips()[1]
    before = clip.frames.copy()
    scorer.score(PROMPTS[:1], [clip])
    np.testing.assert_array_equal(clip.frames, before)


def test_a_clip_that_is_too_short_is_named_with_its_need(scorer, tmp_path):
    least = SHORTEST.get(scorer.name.partition(":")[0], 1)
    enough = golden.square([4 + 2 * f for f in range(max(least, 1))])
    assert scorer.score(PROMPTS[:1], [enough]).isfinite().all()
    if least > 1:
        with pytest.raises(DataError, match=f"needs {least} or more"):
            scorer.score(PROMPTS[:1], [Clip(enough.frames[: least - 1], 8.0)])


def test_what_is_no_clip_is_refused(scorer, tmp_path):
    with pytest.raises(UserError, match="A clip must be"):
        scorer.score(PROMPTS[:1], [np.zeros((4, 8, 8, 3), np.uint8)])
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="x.mp4"):
        scorer.score(PROMPTS[:1], [tmp_path / "x.mp4"])


def test_both_orders_of_a_comparison_sum_to_one_and_the_higher_score_wins(scorer):
    laws.both_orders_sum_to_one_and_the_higher_score_wins(scorer, PROMPTS[:2], clips()[:2], clips()[:2][::-1])


def test_name_unit_and_range_are_stated(scorer):
    laws.name_unit_and_range_are_stated(scorer, "video")


def test_one_prompt_for_two_clips_is_refused(scorer):
    with pytest.raises(UserError, match="one prompt for each sample"):
        scorer.score(PROMPTS[:1], clips()[:2])

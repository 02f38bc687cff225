"""VideoScore: its grades are those of a plain forward pass with the same weights, under both of its networks."""

import json

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.errors import DataError, UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.vision_language.idefics2_positions import cells
from diffalign.scorers.vision_language.instruction import instruction
from tests.scorers import tiny_vision_language as tiny
from tests.scorers.clips.test_video_reward import clip, patches
from tests.scorers.images.test_hpsv3 import CHAT

QUALITIES = ("visual", "temporal", "dynamic", "alignment", "factual")
PLACES = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5"), reason="4.55 to 4.57 place patches otherwise"
)


@torch.no_grad()
def plain_qwen(folder, model, head, prompt, frames, sides):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels, grid = patches(frames, sides)
    text = CHAT.format(image="<|video_pad|>" * (len(pixels) // 4), text=instruction("video_score", prompt))
    tokens = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    positions = torch.arange(tokens.shape[1]).expand(3, 1, -1)
    output = model.model(input_ids=tokens, position_ids=positions, pixel_values_videos=pixels, video_grid_thw=grid)
    return head(output.last_hidden_state[0, -1])


def test_grades_under_qwen2_vl_are_those_of_a_plain_forward_pass(tmp_path):
    model, head = tiny.video_score_qwen2_vl(tmp_path)
    sample = clip(12, fps=16.0)  # 8 frames a second of three quarters of a second: 6 of 12
    expected = plain_qwen(tmp_path, model, head, "a fox", sample.frames[[0, 2, 4, 7, 9, 11]], (280, 392))
    scorer = load_scorer(f"video_score:{tmp_path}")
    torch.testing.assert_close(scorer.grades(["a fox"], [sample])[0], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scorer.score(["a fox"], [sample]), expected.mean()[None], rtol=1e-4, atol=1e-4)
    with pytest.raises(DataError, match="needs 2 or more"):
        scorer.score(["a"], [clip(1)])


@torch.no_grad()
def plain_idefics2(folder, model, head, prompt, frames, sizes):
    """By the model of transformers, with resizes by PIL and the sequence of the model's documentation."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels = [
        np.asarray(Image.fromarray(f).resize(s, Image.Resampling.BILINEAR)) for f, s in zip(frames, sizes, strict=True)
    ]
    values = (torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    picture = "<fake_token_around_image><image><image><image><fake_token_around_image> "
    text = instruction("video_score", prompt) + picture * len(frames)
    tokens = tokenizer(text, return_tensors="pt")["input_ids"]
    return head(model(input_ids=tokens, pixel_values=values[None]).last_hidden_state[0, -1])


@PLACES
def test_grades_under_idefics2_are_those_of_a_plain_forward_pass(tmp_path):
    model, head = tiny.video_score_idefics2(tmp_path)
    sample = clip(3, size=(30, 84))  # 56 pixels on the long side, and at least 28 on the short one
    expected = plain_idefics2(tmp_path, model, head, "two foxes", sample.frames, [(56, 28)] * 3)
    found = load_scorer(f"video_score:{tmp_path}").grades(["two foxes"], [sample])[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    for i, quality in enumerate(QUALITIES):
        one = load_scorer(f"video_score:{quality}:{tmp_path}").score(["two foxes"], [sample])
        torch.testing.assert_close(one, expected[i : i + 1], rtol=1e-4, atol=1e-4)


def test_patches_lie_in_the_cell_of_their_place():
    assert cells(4, 4).tolist() == [0, 1, 2, 3] and cells(2, 4).tolist() == [0, 2]
    assert cells(8, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and cells(1, 70).tolist() == [0]
    assert cells(70, 70).tolist() == list(range(70))


@pytest.mark.parametrize(("name", "most"), [("VideoScore", 16), ("VideoScore-v1.1", 48)])
def test_long_clips_are_thinned_to_the_frames_of_the_version(tmp_path, name, most):
    tiny.video_score_idefics2(tmp_path / name)
    scorer, sample = load_scorer(f"video_score:{tmp_path / name}"), clip(100, size=(28, 28))
    seen = Clip(sample.frames[[k * 100 // most for k in range(most)]], 8.0)
    assert torch.equal(scorer.grades(["a"], [sample]), scorer.grades(["a"], [seen]))
    assert f"up to {most} frames" in scorer.preprocessing


def test_quarters_are_shown_before_the_frame_where_the_preprocessing_says_so(tmp_path):
    tiny.video_score_idefics2(tmp_path, split=True)
    split = load_scorer(f"video_score:{tmp_path}")
    frame = clip(1, size=(56, 56)).frames[0]
    quarters = [frame[:28, :28], frame[:28, 28:], frame[28:, :28], frame[28:, 28:], frame]
    shown = []
    split.network._pixels = lambda part: shown.append(np.asarray(part)) or torch.zeros(3, 28, 28) + len(shown)
    tokens = []
    split.network.model.register_forward_pre_hook(
        lambda module, args, inputs: tokens.append(inputs["input_ids"]), with_kwargs=True
    )
    assert split.score(["a"], [Clip(frame[None], 8.0)]).isfinite().all()
    marks = tokens[0] == split.network.tokenizer.convert_tokens_to_ids("<fake_token_around_image>")
    assert marks.sum() == 6  # one between two parts, and one at each end
    assert all(np.array_equal(*pair) for pair in zip(shown, quarters, strict=True))


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("config.json", {"model_type": "llama"}, "is a llama, and video_score needs"),
        ("preprocessor_config.json", {"resample": 3}, "another resample than Idefics2"),
        ("preprocessor_config.json", {"size": {"shortest_edge": 90, "longest_edge": 20}}, "90 to 20 pixels"),
        ("model.safetensors.index.json", {"weight_map": {"a": "../x"}}, "only names of files beside it"),
        ("model.safetensors.index.json", {"weight_map": {"a": "model-00001-of-00002.safetensors"}}, "missing"),
    ],
)
def test_folders_that_would_give_other_scores_are_refused(tmp_path, file, change, message):
    tiny.video_score_idefics2(tmp_path)
    content = json.loads((tmp_path / file).read_text()) | change
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        load_scorer(f"video_score:{tmp_path}")


@pytest.mark.parametrize("mark", ["<image>", "<fake_token_around_image>"])
def test_a_prompt_with_a_mark_of_the_input_is_refused(tmp_path, mark):
    tiny.video_score_idefics2(tmp_path)
    with pytest.raises(DataError, match="marks a place"):
        load_scorer(f"video_score:{tmp_path}").score([f"a {mark}"], [clip()])

"""A function of the user's as a scorer: of images, texts and clips, from a file or a module."""

import numpy as np
import pytest
from PIL import Image

from diffalign import plugins
from diffalign.data.media.clips.clip import Clip
from diffalign.errors import ConfigError, DataError, UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.user_function import UserFunction

CODE = """
import numpy as np
import torch

def redness(prompts, images):
    assert all(image.mode == "RGB" for image in images)
    return [float(np.asarray(image)[..., 0].mean()) / 255 for image in images]

redness.unit, redness.range = "share", (0, 1)

def length(prompts, texts):
    return torch.tensor([len(text) + len(prompt) for prompt, text in zip(prompts, texts)])

def frames(prompts, clips):
    return np.array([len(clip) for clip in clips])

def short(prompts, images):
    return [1.0] * (len(images) - 1)

def infinite(prompts, images):
    return [float("inf")] * len(images)

def broken(prompts, images):
    raise KeyError("no such thing")
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "my_rewards.py").write_text(CODE)
    return tmp_path / "my_rewards.py"


def test_a_function_of_images_gets_rgb_images(file, tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    scorer = load_scorer(f"function:{file}:redness")
    images = [Image.new("L", (5, 5), 51), tmp_path / "clear.png", np.zeros((2, 2, 3), np.uint8)]
    assert scorer.score(["a"] * 3, images).tolist() == pytest.approx([0.2, 1.0, 0.0])
    assert scorer.unit == "share" and scorer.range == (0.0, 1.0) and scorer.name == f"function:{file}:redness"


def test_functions_of_texts_and_clips_get_theirs(file):
    assert load_scorer(f"text_function:{file}:length").score(["ab", "c"], ["def", ""]).tolist() == [5, 1]
    clip = Clip(np.zeros((3, 8, 8, 3), np.uint8), 8.0)
    scorer = load_scorer(f"clip_function:{file}:frames")
    assert scorer.score(["a"], [clip]).tolist() == [3] and scorer.medium == "video" and scorer.unit == "the function's"


def test_a_module_is_found_from_the_working_directory(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert load_scorer("function:my_rewards:redness").score(["a"], [Image.new("RGB", (2, 2), "red")]).item() == 1
    assert load_scorer("function:my_rewards.py:redness").score([], []).shape == (0,)


@pytest.mark.parametrize(
    "name, words",
    [
        ("short", r"one finite number for each of 2 samples; got shape \(1,\)"),
        ("infinite", "with NaN or infinite values"),
        ("broken", "raised KeyError: 'no such thing'"),
    ],
)
def test_what_a_function_does_wrong_is_said(file, name, words):
    with pytest.raises(UserError, match=words):
        load_scorer(f"function:{file}:{name}").score(["a", "b"], [Image.new("RGB", (2, 2))] * 2)


@pytest.mark.parametrize(
    "argument, words",
    [
        ("", "write function:my_rewards.py:redness"),
        ("{file}:rednes", "Did you mean 'redness'"),
        ("none:f", "no module"),
    ],
)
def test_a_function_that_is_not_there_says_what_is(file, argument, words):
    with pytest.raises((UserError, ConfigError), match=words):
        load_scorer(f"function:{argument.format(file=file)}")


def test_a_bad_image_is_named(file, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(DataError, match="bad.png"):
        load_scorer(f"function:{file}:redness").score(["a"], [tmp_path / "bad.png"])


@pytest.mark.parametrize("given", ["abc", (1, 2, 3), 5])
def test_a_range_that_is_no_two_numbers_is_refused_in_a_sentence(given):
    def constant(prompts, samples):
        return [0.0] * len(samples)

    constant.range = given
    with pytest.raises(UserError, match="the range of mine is its lowest and highest number"):
        UserFunction(constant, lambda sample: sample, medium="image", name="mine")


def test_a_function_that_was_edited_is_another_scorer(file):
    before = load_scorer(f"function:{file}:redness").weights
    assert before and load_scorer(f"ocr:{file}:redness").weights == before
    file.write_text(CODE.replace("/ 255", "/ 256"))
    plugins._FILES.pop(file.resolve())  # as in another process
    assert load_scorer(f"function:{file}:redness").weights != before

"""Published scores of public images, for whoever has the weights: none of them is part of the package.

    DIFFALIGN_WEIGHTS=/data/weights pytest tests/scorers/images/test_published_numbers.py

The folder holds one folder for each scorer with its weights (and the tokenizer or encoder beside them), and ``images``
with the published images under the names below. What is absent is skipped.
"""

import os
from pathlib import Path

import pytest
import torch

from diffalign.scorers import load_scorer

WEIGHTS = Path(os.environ.get("DIFFALIGN_WEIGHTS", "/nonexistent"))
FILES = ["1.webp", "2.webp", "3.webp", "4.webp"]
OCEAN = "a painting of an ocean with clouds and birds, day time, low depth field effect"
PUBLISHED = {
    # README of github.com/THUDM/ImageReward, whose assets/images holds the four images
    "image_reward": (OCEAN, [0.5811622738838196, 0.2745276093482971, -1.4131819009780884, -2.029569625854492], 5e-3),
    # DiffSynth-Studio's table of quality metrics on the same images, with the same weights and encoder
    "aesthetic": (OCEAN, [5.900862693786621, 5.776571273803711, 5.799864292144775, 5.05204963684082], 5e-2),
}
"""Scorer to its prompt, the published scores of 1.webp to 4.webp, and how far a correct implementation may be."""
FIRST_BEATS_LAST = ("pickscore", "hpsv2", "hpsv2.1", "clip")
"""Scorers that prefer 1.webp to 4.webp in DiffSynth's table. Its values of theirs are no expectation: its H/14 has
another activation and another preprocessing."""
RANGES = {"pickscore": (15, 26), "hpsv2": (0.2, 0.35), "hpsv2.1": (0.15, 0.38), "aesthetic": (3, 8), "clip": (0.1, 0.4)}
"""Where scores of matching images lie by the scorers' own tables: a factor of 26 or 100 falls outside."""


def load(name, files):
    folder, paths = WEIGHTS / name, [WEIGHTS / "images" / file for file in files]
    if not folder.is_dir() or not all(path.is_file() for path in paths):
        pytest.skip(f"needs DIFFALIGN_WEIGHTS with {name}/ and images/{files[0]}, ...")
    return load_scorer(f"{name}:{folder}"), paths


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_scorer_gives_the_published_scores(name):
    prompt, expected, tolerance = PUBLISHED[name]
    scorer, paths = load(name, FILES)
    torch.testing.assert_close(scorer.score([prompt] * 4, paths), torch.tensor(expected), atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", FIRST_BEATS_LAST)
def test_a_scorer_prefers_the_image_that_it_prefers_in_the_published_table(name):
    scorer, paths = load(name, FILES)
    assert scorer.compare([OCEAN], paths[:1], paths[3:]).item() > 0.5


@pytest.mark.parametrize("name", RANGES)
def test_a_score_lies_on_the_published_scale(name):
    scorer, paths = load(name, ["1.webp"])
    low, high = RANGES[name]
    assert low < scorer.score([OCEAN], paths).item() < high

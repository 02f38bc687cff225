"""The scorer of the embedded grammar's facts, on images whose facts are known."""

import numpy as np
import pytest
import torch

from diffalign.errors import DataError, UserError
from diffalign.plugins import load_plugins
from diffalign.scorers import load_scorer
from pipelines.embedded import measure, scenes
from tests.pipelines.test_embedded import ASSETS, needs_assets


@pytest.fixture(autouse=True)
def registered():
    """The scorer is registered here and not at import, so that batteries over the package's own scorers skip it."""
    load_plugins(["pipelines.embedded.scene_facts"])


def drawn(place: str, count: int = 1, background: str = "blue") -> np.ndarray:
    """Squares on a background, where `scenes.render` puts sprites."""
    image = np.empty((64, 64, 3), np.uint8)
    image[:] = scenes.BACKGROUNDS[background]
    scene = scenes.Scene("fox", count, "flat", background, place)
    size, corners = scenes._corners(scene, np.random.default_rng(0))
    for x, y in corners:
        image[y + 2 : y + size - 2, x + 2 : x + size - 2] = (20, 200, 20)
    return image


PROMPT = "a flat drawing of a fox on a blue background, on the left"
IMAGES = [drawn("left"), drawn("right"), drawn("right", background="red"), drawn("top", 2, "red")]


def test_each_wrong_fact_costs_one_and_only_images_without_any_are_hits():
    scores, hits = load_scorer("scene_facts:pixels").scores_and_hits([PROMPT] * 4, IMAGES)
    assert scores.tolist() == [3, 2, 1, 0]
    assert hits.tolist() == [True, False, False, False]


@pytest.mark.parametrize("fact", measure.PIXEL_FACTS)
def test_one_fact_ignores_the_others(fact):
    wrong = {"count": drawn("left", 2), "background": drawn("left", background="red"), "place": drawn("top")}
    for name, image in wrong.items():
        if name == "count":
            continue  # two squares fill the width, which also changes the place
        assert load_scorer(f"scene_facts:{fact}").score([PROMPT], [image]).item() == float(fact != name)
    assert load_scorer(f"scene_facts:{fact}").score([PROMPT], [drawn("left")]).item() == 1


def test_what_a_prompt_leaves_unsaid_counts_as_right():
    assert load_scorer("scene_facts:pixels").score(["a drawing of a fox"] * 2, IMAGES[1:3]).tolist() == [3, 3]


def test_another_language_than_the_grammar_is_refused_before_any_image_is_drawn():
    with pytest.raises(DataError, match="grammar"):
        load_scorer("scene_facts:pixels").check_prompts(["a photo of a dog"])
    with pytest.raises(UserError, match="scene_facts:assets"):
        load_scorer("scene_facts:colours")


@needs_assets
def test_a_recogniser_adds_the_subject():
    scorer = load_scorer(f"scene_facts:{ASSETS / 'scorers' / 'recogniser'}")
    assert scorer.range == (0, 4)
    assert len(scorer.weights) == 16
    (seen,) = measure.recognise(ASSETS / "scorers" / "recogniser", IMAGES[0][None])
    other = next(word for word in scenes.BY_WORD if word != seen)
    prompts = [scenes.Scene(word, 1, None, "blue", "left").prompt for word in (seen, other)]
    scores, hits = scorer.scores_and_hits(prompts, [IMAGES[0]] * 2)
    assert scores.tolist() == [4, 3]
    assert hits.tolist() == [True, False]
    assert torch.equal(scorer.score([], []), torch.zeros(0))

"""Presets are recipes that hold, and say where they come from."""

import pytest

from diffalign.labels import LABELS
from diffalign.latents import LATENTS
from diffalign.losses import LOSSES
from diffalign.methods import METHODS
from diffalign.pairs import PAIRS
from diffalign.training.config import make_recipe
from diffalign.training.optim import learning_rate


@pytest.mark.parametrize("name", METHODS)
def test_each_preset_makes_a_recipe_with_a_model_and_data_alone(name):
    recipe = make_recipe({"method": name, "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"})
    method = METHODS[name]
    assert recipe.loss.name == method.parts["loss"] in LOSSES
    assert recipe.labels.name == method.parts["labels"] in LABELS
    assert recipe.pairs.name == method.parts["pairs"] in PAIRS
    assert recipe.model.latents.name == method.parts["latents"] in LATENTS
    assert LOSSES[recipe.loss.name].needs_reference == method.needs_reference


@pytest.mark.parametrize("name", METHODS)
def test_each_preset_explains_itself(name):
    text = METHODS[name].explain()
    assert METHODS[name].source in text and "loss.name" in text and "train.steps" in text


@pytest.mark.parametrize(
    ("name", "steps", "pairs", "rate", "beta"),
    [
        ("ddim_inpo", 400, 1024, 1.024e-5, 2000),
        ("smpo", 200, 1024, 1.024e-5, 2000),
        ("seppo", 210, 2048, 2.048e-5, 2000),
    ],
)
def test_presets_have_the_numbers_of_their_launchers(name, steps, pairs, rate, beta):
    recipe = make_recipe({"method": name, "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"})
    assert (recipe.train.steps, recipe.train.batch_size) == (steps, pairs)
    assert learning_rate(recipe.train, steps - 1) == pytest.approx(rate)
    assert recipe.loss.hyper["beta"] == beta


def test_one_choice_of_a_preset_can_be_replaced_and_the_others_stay():
    values = {"method": "smpo", "model": {"path": "m"}, "data": {"train": "d"}, "output": "o", "loss": "ipo"}
    recipe = make_recipe({**values, "loss": {"name": "ipo", "beta": 100}, "latents": {"corrections": 3}})
    assert recipe.loss.name == "ipo" and recipe.labels.name == "smoothed"
    assert recipe.model.latents.hyper == {"steps": 10, "corrections": 3}


def test_diffusion_dpo_has_the_published_numbers():
    recipe = make_recipe({"method": "diffusion_dpo", "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"})
    assert recipe.loss.hyper == {"beta": 5000.0}
    assert METHODS["diffusion_dpo_paper"].defaults["loss"]["beta"] == 2000.0
    assert learning_rate(recipe.train, 500) == pytest.approx(2.048e-5)
    assert learning_rate(recipe.train, 249) == pytest.approx(1.024e-5)  # half of the warm-up

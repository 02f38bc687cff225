"""Presets are recipes that hold, and say where they come from."""

import pytest

from diffalign.labels import LABELS
from diffalign.losses import LOSSES
from diffalign.methods import METHODS
from diffalign.training.config import make_recipe
from diffalign.training.optim import learning_rate


@pytest.mark.parametrize("name", METHODS)
def test_each_preset_makes_a_recipe_with_a_model_and_data_alone(name):
    recipe = make_recipe({"method": name, "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"})
    method = METHODS[name]
    assert recipe.loss.name == method.parts["loss"] in LOSSES
    assert recipe.labels.name == method.parts["labels"] in LABELS
    assert LOSSES[recipe.loss.name].needs_reference == method.needs_reference


@pytest.mark.parametrize("name", METHODS)
def test_each_preset_explains_itself(name):
    text = METHODS[name].explain()
    assert METHODS[name].source in text and "loss.beta" in text and "claims:" in text


def test_diffusion_dpo_has_the_published_numbers():
    recipe = make_recipe({"method": "diffusion_dpo", "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"})
    assert recipe.loss.hyper == {"beta": 5000.0}
    assert METHODS["diffusion_dpo_paper"].defaults["loss"]["beta"] == 2000.0
    assert learning_rate(recipe.train, 500) == pytest.approx(2.048e-5)
    assert learning_rate(recipe.train, 249) == pytest.approx(1.024e-5)  # half of the warm-up

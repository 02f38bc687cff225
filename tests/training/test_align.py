"""The whole job asks for everything it will need before it trains."""

import pytest

from diffalign.errors import ConfigError, UserError
from diffalign.training.align import align
from diffalign.training.recipe.load import make_recipe

VALUES = {
    "model": {"path": "nowhere"},
    "data": {"train": "nowhere"},
    "loss": {"name": "logistic", "beta": 1.0},
    "train": {"steps": 1, "learning_rate": 1e-4},
    "output": "nowhere",
}


def recipe(**evaluate):
    return make_recipe({**VALUES, "evaluate": evaluate})


def test_prompts_without_a_judge_are_refused_with_the_line_to_type():
    with pytest.raises(ConfigError, match="evaluate.scorers"):
        align(recipe(prompts=["a fox"]))


def test_a_judge_that_made_the_pairs_cannot_be_held_out():
    with pytest.raises(UserError, match="cannot both"):
        align(recipe(prompts=["a fox"], scorers=["background:red"], trained_on=["background:red"]))


def test_a_prompt_that_a_judge_cannot_score_is_refused_before_training():
    with pytest.raises(UserError, match="names no colour"):
        align(recipe(prompts=["a fox"], scorers=["background:prompt"]))

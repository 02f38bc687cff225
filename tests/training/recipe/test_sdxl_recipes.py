"""The recipes for Stable Diffusion XL pass the check of a run on a tiny model of its shape."""

from pathlib import Path

import pytest

from diffalign.devices import quantized_linear
from diffalign.training.loop import train
from diffalign.training.optim.optimizer import learning_rate
from diffalign.training.recipe.load import load_recipe
from tests.tiny import tiny_pairs, tiny_sdxl

FOLDER = Path(__file__).parents[3] / "configs" / "sdxl"
RECIPES = sorted(path.name for path in FOLDER.glob("*.yaml"))
PUBLISHED = {"dpo_paper.yaml": 2.048e-5, "ddim_inpo_paper.yaml": 1.024e-5, "smpo_paper.yaml": 1.024e-5}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    from dataclasses import replace

    scores = {"chosen": {"pickscore": 22.0}, "rejected": {"pickscore": 20.0}}
    return [replace(pair, scores=scores) for pair in tiny_pairs(tmp_path_factory.mktemp("pairs"), 4)]


@pytest.mark.parametrize("name", RECIPES)
def test_each_passes_the_check_on_a_tiny_model_of_the_same_shape(name, model, pairs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quantized_linear, "SMALLEST", 0)  # the tiny model has small layers only
    values = [f"model.path={model}", "model.resolution=16", "train.mixed_precision=no", f"output={tmp_path / 'run'}"]
    ranges = ["labels.low=19", "labels.high=24"] if name == "smpo.yaml" else []
    recipe = load_recipe(FOLDER / name, [*values, *ranges])
    train(recipe, pairs=pairs, check_only=True)
    shown = " ".join(capsys.readouterr().err.split())
    assert f"optimizer {recipe.train.optimizer}, rate" in shown and "beta 5000" in shown
    assert ("every weight of the denoiser" in shown) == (name in PUBLISHED)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_ones_train_every_weight_with_adafactor_at_the_published_rate(name):
    recipe = load_recipe(FOLDER / name)
    assert recipe.model.adapter is None and recipe.model.gradient_checkpointing and recipe.model.size_ids == "fixed"
    assert (recipe.train.optimizer, recipe.train.mixed_precision, recipe.model.flip) == (
        "adafactor",
        "fp16",
        "independent",
    )
    assert learning_rate(recipe.train, recipe.train.warmup_steps) == pytest.approx(PUBLISHED[name])


def test_the_levels_of_turbo_are_those_of_its_sampler_with_trailing_spacing():
    from diffusers import EulerAncestralDiscreteScheduler

    sampler = EulerAncestralDiscreteScheduler(timestep_spacing="trailing")
    sampler.set_timesteps(4)
    recipe = load_recipe(FOLDER / "turbo_dpo.yaml")
    assert sorted(int(t) for t in sampler.timesteps) == list(recipe.model.level_list)
    assert recipe.model.caption_dropout == 0.0

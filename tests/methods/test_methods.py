"""Presets are recipes that hold, and say where they come from."""

import pytest

from diffalign.errors import ConfigError
from diffalign.labels import LABELS
from diffalign.latents import LATENTS
from diffalign.losses import LOSSES
from diffalign.methods import METHODS
from diffalign.methods.language import LANGUAGE
from diffalign.methods.rounds import ROUNDS
from diffalign.pairs import PAIRS
from diffalign.training.optim.optimizer import learning_rate
from diffalign.training.recipe.bind import bind_loss
from diffalign.training.recipe.load import make_recipe

TEXT = [method.name for method in (*LANGUAGE, *ROUNDS)]


def made(name, **changes):
    """A preset with a model and data; of texts also with a length, which no method can know."""
    values = {"method": name, "model": {"path": "m"}, "data": {"train": "d"}, "output": "o", **changes}
    if name in TEXT:
        values["train"] = {"steps": 400, **values.get("train", {})}
    return make_recipe(values)


@pytest.mark.parametrize("name", METHODS)
def test_each_preset_makes_a_recipe_with_a_model_and_data_alone(name):
    recipe = made(name)
    method = METHODS[name]
    assert recipe.loss.name == method.parts["loss"] in LOSSES
    assert recipe.labels.name == method.parts["labels"] in LABELS
    assert recipe.pairs.name == method.parts["pairs"] in PAIRS
    if name in TEXT:
        assert "latents" not in method.parts
    else:
        assert recipe.model.latents.name == method.parts["latents"] in LATENTS
    assert LOSSES[recipe.loss.name].needs_reference == method.needs_reference


@pytest.mark.parametrize("name", METHODS)
def test_each_preset_explains_itself(name):
    text = METHODS[name].explain()
    assert METHODS[name].source in text and "loss.name" in text and "train.learning_rate" in text


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


def test_video_dpo_has_the_numbers_of_its_configuration_and_a_recipe_replaces_single_ones():
    values = {"method": "video_dpo", "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"}
    recipe = make_recipe(values)
    rate = learning_rate(recipe.train, 0)
    assert (recipe.train.batch_size, rate, recipe.loss.hyper["beta"]) == (8, pytest.approx(6e-6), 5000)
    rule = recipe.model.clip.frame_rule
    assert (recipe.model.flip, rule.kind, rule.frames, rule.stride) == ("none", "stride", 16, 4)
    rule = make_recipe({**values, "model": {"path": "m", "clip": {"frames": 8}}}).model.clip.frame_rule
    assert (rule.kind, rule.frames, rule.stride) == ("stride", 8, 4)


@pytest.mark.parametrize(
    ("name", "steps", "warm_up", "pairs"),
    [
        ("diffusion_dpo_sdxl", 2000, 200, 2048),
        ("ddim_inpo_sdxl", 400, 200, 1024),
        ("smpo_sdxl", 200, 100, 1024),
    ],
)
def test_presets_for_sdxl_take_adafactor_and_beta_5000_and_are_otherwise_the_methods(name, steps, warm_up, pairs):
    recipe, plain = made(name), made(name.removesuffix("_sdxl"))
    train = recipe.train
    assert (train.optimizer, train.weight_decay, train.max_grad_norm) == ("adafactor", 0.01, 1.0)
    assert (train.steps, train.warmup_steps, train.batch_size) == (steps, warm_up, pairs)
    assert learning_rate(train, warm_up) == pytest.approx(1e-8 * pairs) and recipe.loss.hyper == {"beta": 5000.0}
    assert (recipe.model, recipe.labels, recipe.pairs) == (plain.model, plain.labels, plain.pairs)


@pytest.mark.parametrize("name", ["ddim_inpo", "smpo"])
def test_presets_of_unit_noise_differ_from_the_method_in_that_alone(name):
    recipe, plain = made(f"{name}_unit_noise"), made(name)
    assert recipe.model.latents.hyper == {**plain.model.latents.hyper, "unit_noise": "rescale"}
    assert (recipe.loss, recipe.labels, recipe.pairs, recipe.train) == (
        plain.loss, plain.labels, plain.pairs, plain.train,
    )  # fmt: skip


def test_one_choice_of_a_preset_can_be_replaced_and_the_others_stay():
    values = {"method": "smpo", "model": {"path": "m"}, "data": {"train": "d"}, "output": "o", "loss": "ipo"}
    recipe = make_recipe({**values, "loss": {"name": "ipo", "beta": 100}, "latents": {"corrections": 3}})
    assert recipe.loss.name == "ipo" and recipe.labels.name == "score_scaled"
    assert recipe.model.latents.hyper == {"steps": 10, "corrections": 3}


def test_diffusion_dpo_has_the_published_numbers():
    recipe = make_recipe({"method": "diffusion_dpo", "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"})
    assert recipe.loss.hyper == {"beta": 5000.0}
    assert METHODS["diffusion_dpo_paper"].defaults["loss"]["beta"] == 2000.0
    assert learning_rate(recipe.train, 500) == pytest.approx(2.048e-5)
    assert learning_rate(recipe.train, 249) == pytest.approx(1.024e-5)  # half of the warm-up


@pytest.mark.parametrize(
    ("name", "rate", "pairs", "hyper"),
    [
        ("dpo", 5e-7, 64, {"beta": 0.1, "flip": 0.0, "per_token": False}),
        ("cdpo", 5e-7, 64, {"beta": 0.1, "flip": 0.1, "per_token": False}),
        ("ipo", 5e-7, 64, {"beta": 0.1, "relative": False, "per_token": True}),
        ("simpo", 6e-7, 128, {"beta": 2.0, "gamma_beta_ratio": 0.5, "per_token": True}),
        ("orpo", 5e-6, 8, {"weight": 0.1, "per_token": True}),
        ("kto", 5e-7, 64, {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}),
        ("rpo", 5e-7, 128, {"beta": 0.05, "eta": 0.005, "average": 0.0}),
    ],
)
def test_language_presets_have_the_numbers_of_their_sources(name, rate, pairs, hyper):
    recipe = made(name)
    assert bind_loss(recipe.loss).shown_settings == hyper
    assert (recipe.train.learning_rate, recipe.train.batch_size) == (rate, pairs)
    assert "text" in LOSSES[recipe.loss.name].media and METHODS[name].needs_reference == (name not in ("simpo", "orpo"))
    assert recipe.pairs.name == ("singles" if name == "kto" else "dataset")


def test_a_language_preset_without_a_length_says_what_is_missing():
    with pytest.raises(ConfigError, match=r"train.steps"):
        make_recipe({"method": "dpo", "model": {"path": "m"}, "data": {"train": "d"}, "output": "o"})

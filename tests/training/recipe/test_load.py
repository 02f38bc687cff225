"""Recipes: what is wrong is said once, completely, with the line to type."""

import pytest

from diffalign.errors import ConfigError
from diffalign.training.recipe.load import load_recipe, make_recipe
from diffalign.training.recipe.model_kinds import kind_named
from tests.training.toy import register, toy_recipe

GOOD = """
method: diffusion_dpo
model: {kind: toy, path: somewhere}
data: {train: pairs}
train: {steps: 20, batch_size: 4}
output: out
"""


@pytest.fixture
def recipe_file(tmp_path):
    register()

    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


def test_a_preset_gives_defaults_and_the_recipe_wins(recipe_file):
    recipe = load_recipe(recipe_file(GOOD), ["train.learning_rate=2e-6", "loss.beta=100"])
    assert recipe.loss.name == "logistic" and recipe.loss.hyper == {"beta": 100}
    assert recipe.train.steps == 20 and recipe.train.batch_size == 4 and recipe.train.learning_rate == 2e-6
    assert recipe.train.scale_lr and recipe.train.warmup_steps == 500  # of the preset


def test_another_loss_drops_the_presets_hyperparameters(recipe_file):
    recipe = load_recipe(recipe_file(GOOD), ["loss={name: hinge, beta: 3}"])
    assert recipe.loss.hyper == {"beta": 3}
    with pytest.raises(ConfigError, match="needs a value for beta"):
        load_recipe(recipe_file(GOOD), ["loss=ipo"])


@pytest.mark.parametrize(
    ("override", "says"),
    [
        (
            "train.lerning_rate=1",
            r"train.lerning_rate is not a setting. Did you mean 'learning_rate'\? .*--set train.learning_rate=1",
        ),
        ("trian.steps=1", r"trian is not a setting. Did you mean 'train'\?"),
        ("model.pth=x", r"model.pth is not a setting. Did you mean 'path'\? Type: --set model.path=x"),
        (
            "model={kind: image, path: x, clip: {frames: 8}}",
            r"model.clip is not a setting.*It is a setting of model.kind 'video'",
        ),
        ("model.kind=imge", r"model.kind: there is no 'imge'. Did you mean 'image'\?"),
        ("train.batch_size=0", r"train.batch_size: .*greater than or equal to 1; got 0"),
        ("train.schedule=cosin", r"train.schedule: .*'cosine'.*got 'cosin'"),
        ("loss.betta=3", r"loss: .*it has no 'betta'. Did you mean 'beta'\?"),
        ("loss.beta=-3", r"loss: beta is .*got -3"),
        ("loss.name=logistik", r"there is no loss 'logistik'.*Did you mean 'logistic'\?"),
        ("labels=hart", r"there is no label 'hart'. Did you mean 'hard'\?"),
        ("labels=label_noise", r"the label 'label_noise' needs a value for flip"),
        ("method=diffusion_dop", r"there is no method 'diffusion_dop'. Did you mean 'diffusion_dpo'\?"),
        ("train.schedule=constant", r"train: warmup_steps is 500, but schedule 'constant' has no warm-up.*--set"),
        ("train.steps", r"is not KEY=VALUE"),
    ],
)
def test_mistakes_name_the_key_and_the_line_to_type(recipe_file, override, says):
    with pytest.raises(ConfigError, match=says):
        load_recipe(recipe_file(GOOD), [override])


def test_all_missing_values_are_reported_together():
    register()
    with pytest.raises(ConfigError) as error:
        make_recipe({"model": {"kind": "toy"}, "data": {}, "train": {"steps": 3}, "output": "x"})
    for key in ("model.path", "data.train", "loss", "train.learning_rate"):
        assert f"--set {key}=VALUE" in str(error.value)


def test_all_mistakes_are_reported_together(recipe_file):
    with pytest.raises(ConfigError) as error:
        load_recipe(recipe_file(GOOD), ["train.steps=0", "log.evry=3", "guard.action=panic"])
    assert all(part in str(error.value) for part in ("train.steps", "Did you mean 'every'", "guard.action"))


def test_a_number_without_a_dot_is_a_number(recipe_file):
    assert load_recipe(recipe_file(GOOD), ["loss.beta=5e3"]).loss.hyper["beta"] == 5000.0


def test_a_recipe_reads_back_from_its_own_file(tmp_path):
    recipe = toy_recipe(tmp_path)
    assert make_recipe(recipe.model_dump(mode="json")) == recipe


def test_recipes_are_frozen(tmp_path):
    with pytest.raises(ValueError, match="frozen"):
        toy_recipe(tmp_path).train.steps = 3


def test_the_image_model_is_the_default_kind():
    from diffalign.policies.diffusion.config import ModelConfig

    values = toy_recipe("x").model_dump(mode="json") | {"model": {"path": "somewhere", "resolution": 64}}
    assert isinstance(make_recipe(values).model, ModelConfig)
    assert make_recipe(values).model_dump(mode="json")["model"]["kind"] == "image"


def image(**sections):
    return make_recipe({**toy_recipe("x").model_dump(mode="json", exclude={"previews", "evaluate"}), **sections})


TEXT = {"kind": "text", "path": "somewhere"}


def test_sampling_settings_are_those_of_the_models_kind_with_their_defaults():
    found = image(model={"path": "somewhere"}, previews={"steps": 7}, evaluate={"guidance": 1, "batch": 2})
    assert found.previews.sampling == {
        "steps": 7, "guidance": 5.0, "negative_prompt": "", "eta": 0.0, "sampler": "own"
    }  # fmt: skip
    assert (found.evaluate.sampling["steps"], found.evaluate.sampling["guidance"], found.evaluate.batch) == (30, 1.0, 2)
    assert image(model={"path": "somewhere"}).evaluate.sampling["steps"] == 30
    text = image(model=TEXT, previews={"temperature": 0, "prompts": ["x"]})
    assert text.previews.sampling["temperature"] == 0 and "steps" not in text.previews.sampling
    assert make_recipe(text.model_dump(mode="json")) == text


@pytest.mark.parametrize(
    ("model", "section", "says"),
    [
        ({"path": "x"}, {"previews": {"stps": 3}}, r"previews.stps is not.*Did you mean 'steps'\?.*previews.steps=3"),
        ({"path": "x"}, {"previews": {"evry": 3}}, r"previews.evry is not.*Did you mean 'every'\?"),
        ({"path": "x"}, {"evaluate": {"steps": 0}}, r"evaluate.steps: .*greater than or equal to 1; got 0"),
        ({"path": "x"}, {"evaluate": {"top_p": 1}}, r"evaluate.top_p is not.*Known here: .*guidance.*kind 'text'"),
        (TEXT, {"evaluate": {"guidance": 1}}, r"evaluate.guidance is not.*Known here: .*temperature.*kind 'image'"),
        (TEXT, {"previews": {"temprature": 1}}, r"previews.temprature is not.*Did you mean 'temperature'\?"),
        ({"path": "x", "max_length": 9}, {}, r"model.max_length is not.*--set model.kind=text"),
    ],
)
def test_a_sampling_setting_of_another_kind_is_refused(model, section, says):
    with pytest.raises(ConfigError, match=says):
        image(model=model, **section)


def test_a_folder_shows_the_kind_of_its_model(tmp_path):
    def kind(name, *files):
        (tmp_path / name).mkdir()
        for file, content in files:
            (tmp_path / name / file).write_text(content)
        return kind_named({"path": str(tmp_path / name)})

    assert kind("pipeline", ("model_index.json", "{}")) == "image"
    assert kind("both", ("model_index.json", "{}"), ("config.json", "{}")) == "image"
    assert kind("language", ("config.json", '{"model_type": "llama"}')) == "text"
    assert kind("packed", ("model.gguf", "")) == "text"
    assert kind("denoiser", ("config.json", '{"_diffusers_version": "0.30"}')) == "image"
    assert kind("broken", ("config.json", "{")) == "image"
    assert kind("empty") == "image"
    assert kind_named({"path": "someone/something"}) == "image"
    assert kind_named({"path": str(tmp_path / "language"), "kind": "image"}) == "image"
    found = image(model={"path": str(tmp_path / "language")})
    assert found.model_dump(mode="json")["model"]["kind"] == "text"

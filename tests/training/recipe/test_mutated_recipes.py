"""Recipes that no one meant to write: each is read or refused in a short sentence, whatever is wrong with it."""

from itertools import chain
from pathlib import Path

import pytest
import yaml

from diffalign.errors import ConfigError
from diffalign.training.recipe.load import load_recipe, make_recipe
from tests.mutations import mutated_bytes, mutated_values, mutated_yaml, try_all

CONFIGS = Path(__file__).parents[3] / "configs"
NAMES = ("emoji/dpo", "emoji/smpo", "text/dpo", "text/sum", "text/kto", "sd15/seppo")
OVERRIDES = (
    *("train.steps.x=1", "method=[dpo]", "model=some/model", "loss=3", "loss=[]", "loss.plus=[3]", "loss.times=x"),
    *("train=1", "train.steps=", "=", "a", "a.b.c.d=1", "..=1", ".=1", "train..steps=1", "train.steps=&a [*a]"),
    *("labels={name: [x]}", "pairs={name: {}}", "latents=3", "latents=[x]", "latents.name=3"),
    *("latents.steps={}", "latents={}", "latents="),
    *("model.adapter=x", "model.adapter.rank.x=1", "model.kind=[text]", "model.path=~stranger/x"),
    *("loss.beta=[1]", "loss.beta=.nan", "loss.beta=nan", "loss.beta=.inf", "loss.beta=1" + "0" * 400, "loss.beta=yes"),
    *("train.learning_rate=.inf", "train.learning_rate=.nan", "train.learning_rate=" + "1" * 400, "train.seed=1e400"),
    *("train.betas=[1]", "train.betas=[2, 3]", "train.betas=[.nan, 0]", f"train.steps={9**40}", f"train.seed={9**40}"),
    *("evaluate.prompts=x", "evaluate.prompts=[1]", "evaluate.steps=.nan", "output=", "output=[x]", "output=\x1b[31m"),
    *("data=x", "data.options=[1]", "data.options={1: 2}", "data.scores=x", "method=", "method={a: 1}", "1=2", "null="),
    *("previews.seeds=[x]", "previews.seeds=[-1]", "guard=off", "log.trackers=[\x1b]", "\x1b[31m=1", "x" * 9999),
    *("labels=label_noise", "labels={name: label_noise, flip: x}", "labels={name: column, margin: [1]}", "labels.x=1"),
    *("model.path=" + "x" * 9999, "x" * 9999 + "=1"),
    *("pairs={name: checkpoint, every: x}", "pairs={name: lists, size: x}", "pairs={name: drafts, instruction: [1]}"),
)  # fmt: skip


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "recipe.yaml"

    def load(content):
        path.write_bytes(content)
        recipe = load_recipe(path)
        assert make_recipe(recipe.model_dump(mode="json")) == recipe

    return load


def _good(name):
    return (CONFIGS / f"{name}.yaml").read_bytes()


def _values(name):
    return yaml.safe_load(_good(name))


def test_the_bytes_of_a_recipe_are_read_or_refused(load):
    made = chain.from_iterable(mutated_bytes(_good(name), 70, seed) for seed, name in enumerate(NAMES))
    try_all("files of recipes", load, made).check()


def test_the_values_of_a_recipe_are_read_or_refused(load):
    made = chain.from_iterable(mutated_yaml(_values(name), 100, seed) for seed, name in enumerate(NAMES))
    try_all("recipes", load, made).check()


def test_nested_values_from_python_are_read_or_refused():
    made = chain.from_iterable(mutated_values(_values(name), 60, seed + 99) for seed, name in enumerate(NAMES))
    try_all("recipes in Python", make_recipe, made).check()


def test_replaced_values_are_used_or_refused():
    made = [(f"{name} {text[:60]}", (name, text)) for name in NAMES for text in OVERRIDES]
    try_all("replaced values", lambda given: load_recipe(CONFIGS / f"{given[0]}.yaml", [given[1]]), made).check()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "latin-1"])
def test_another_encoding_is_named_or_its_first_byte_and_what_to_type(tmp_path, encoding):
    (tmp_path / "recipe.yaml").write_bytes("method: diffusion_dpo  # für\n".encode(encoding))
    with pytest.raises(ConfigError, match="UTF-8.*iconv|null|no text contains"):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xef\xbb\xbf" + _good("text/dpo"))
    assert load_recipe(tmp_path / "recipe.yaml") == load_recipe(CONFIGS / "text/dpo.yaml")


def test_a_key_that_is_given_twice_is_refused_with_both_lines(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(_good("text/dpo") + b"\noutput: elsewhere\n")
    with pytest.raises(ConfigError, match=r"'output' is given twice, first in line \d+ \(line \d+"):
        load_recipe(tmp_path / "recipe.yaml")


def test_merged_defaults_are_no_duplicates(tmp_path):
    text = _good("text/dpo").decode().replace("train:", "train: &train", 1) + "\nevaluate: {<<: [], batch: 3}\n"
    (tmp_path / "recipe.yaml").write_text(text)
    assert load_recipe(tmp_path / "recipe.yaml").evaluate.batch == 3


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model=some/model", r"model section.*Type: --set model.path=some/model"),
        ("train.steps.x=1", r"train.steps is \d+, which has no part 'x'.*--set train.steps=VALUE"),
        ("method=[dpo]", r"there is no method \['dpo'\]. A method is one name. Known: "),
        ("train=7", r"train is a section.*got 7. Type for example: --set train.steps=VALUE"),
        ("loss=7", r"loss is a name, or {name: NAME, SETTING: VALUE}; got 7"),
    ],
)
def test_values_of_another_shape_say_which_shape_is_right(override, says):
    with pytest.raises(ConfigError, match=says):
        load_recipe(CONFIGS / "text" / "dpo.yaml", [override])


def test_an_unknown_key_without_a_model_is_named():
    with pytest.raises(
        ConfigError, match="(?s)missing: model.*trian is not a setting. Did you mean .train.. Rename it"
    ):
        make_recipe({"method": "dpo", "data": {"train": "x"}, "trian": {}, "output": "x"})


@pytest.mark.parametrize(
    "override",
    ["train.learning_rate=.inf", "train.weight_decay=.inf", "train.betas=[2, 3]", "train.betas=[.nan, 0]"]
    + [
        "train.betas=[0.9]",
        f"loss.beta={10**400}",
        f"train.steps={10**40}",
        f"train.seed={2**63}",
        "previews.seeds=[-1]",
    ],
)
def test_numbers_that_no_run_can_use_are_refused_before_it(override):
    with pytest.raises(ConfigError):
        load_recipe(CONFIGS / "text" / "dpo.yaml", [override])

"""Hints that are typed work: they are of the place where they are typed, name settings that exist, and lead on."""

import inspect
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

import diffalign
from diffalign.cli.app import run
from diffalign.cli.hints import as_typed, command_of
from diffalign.errors import UserError
from diffalign.labels import LABELS
from diffalign.latents import LATENTS
from diffalign.losses import LOSSES
from diffalign.losses.loss import hyperparameters, settings_of
from diffalign.pairs import PAIRS
from diffalign.training.recipe.load import load_recipe
from diffalign.training.recipe.model_kinds import MODELS
from diffalign.training.recipe.schema import Recipe
from tests.cli.test_commands import call
from tests.tiny_text import tiny_llm

ROOT = Path(diffalign.__file__).parent
CONFIG = ROOT.parent / "configs" / "text" / "dpo.yaml"
HINT = re.compile(r"--set (?:'([^']+)'|\"([^\"]+)\"|([\w.]+=[^\s,;.)]*(?:\.[^\s,;.)]+)*))")


def keywords(functions):
    return {name for function in functions for name in inspect.signature(function).parameters}


CHOICES = {
    "loss": {"name"} | {name for row in LOSSES.values() for name in (*hyperparameters(row), *settings_of(row))},
    "labels": {"name"} | keywords(LABELS.values()),
    "pairs": {"name"}
    | keywords(PAIRS.values())
    | {name for kind in MODELS.values() for name in kind.candidates().model_fields},
    "latents": {"name", "refresh", "store", "inverter"} | keywords(row.function for row in LATENTS.values()),
}


def exists(key):
    """Whether a recipe has a value of this name, for some model and some choice."""
    first, *rest = key.split(".")
    if first in CHOICES:
        return not rest or rest[0] in CHOICES[first]
    fields = Recipe.model_fields
    if key == "model.kind" or key.startswith("model.masks."):  # of no kind's fields; of one of several types
        return True
    if first == "model" and rest:
        fields = {name: field for kind in MODELS.values() for name, field in kind.config().model_fields.items()}
        first, *rest = rest
    while True:
        if first not in fields:
            return False
        if not rest:
            return True
        annotation = fields[first].annotation
        model = next(
            (c for c in (annotation, *getattr(annotation, "__args__", ())) if hasattr(c, "model_fields")), None
        )
        if model is None:
            return "Mapping" in str(annotation)
        extra = {n: f for kind in MODELS.values() for n, f in kind.sampling().model_fields.items()}
        fields = {**model.model_fields, **(extra if model.model_config.get("extra") == "allow" else {})}
        first, rest = rest[0], rest[1:]


def test_every_setting_that_a_message_names_exists():
    source = "\n".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in ROOT.rglob("*.py"))
    keys = set(re.findall(r"--set (?:['\"]?)([a-z_]+(?:\.[a-z_]+)*)=", source))
    assert len(keys) > 40
    assert not {key for key in keys if not exists(key)} - {"a.b"}


MISTAKES = (
    *("train.lerning_rate=1e-5", "trian.steps=3", "model.pth=x/y", "model=some/model", "evaluate.stps=3", "log.evry=3"),
    *("train.schedule=constant", "loss.betta=0.3", "guard=off", "train.steps.x=1", "evaluate.prompts=a fox", "train=3"),
    *(
        "previews.temprature=0.5",
        "model.adapter=8",
        "data=pairs.jsonl",
        "loss=[]",
        "evaluate.guidance=1",
        "model.masks=x",
    ),
)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_a_message_says_to_type_is_no_mistake_itself(mistake, tmp_path):
    given = [mistake, *(["train.warmup_steps=10"] if "schedule" in mistake else [])]
    with pytest.raises(UserError) as error:
        load_recipe(CONFIG, given)
    hints = [next(filter(None, found)) for found in HINT.findall(str(error.value))]
    assert hints or "Known" in str(error.value) or "takes" in str(error.value) or "name" in str(error.value)
    for hint in hints:
        typed = hint.replace("VALUE", "3").replace("FOLDER", "somewhere")
        assert typed != mistake, "a circular hint"
        values = [typed, *(given[1:] if "schedule" in mistake and "warmup" not in typed else [])]
        try:
            load_recipe(CONFIG, values)
        except UserError as second:
            assert typed.partition("=")[0] in str(second) and "is not a setting" not in str(second), (hint, str(second))


def test_a_hint_is_never_the_name_that_was_given():
    from diffalign.errors import near_miss

    assert near_miss("steps", ["steps"]) == "" and "step" in near_miss("stepp", ["step"])


def test_hints_take_the_form_of_the_command():
    message = (
        "Give columns={'prompt': '<its name>'}, or give format implicit. model.kind is 'x'. Type: --set model.kind=text"
    )
    assert as_typed(message, "train") == (
        "Give --set \"data.options.columns={'prompt': '<its name>'}\", or type --set data.format=implicit. "
        "model.kind is 'x'. Type: --set model.kind=text"
    )
    assert as_typed(message, "data") == (
        "Give --option \"columns={'prompt': '<its name>'}\", or type --format implicit. "
        "--kind is 'x'. Type: --kind text"
    )
    assert as_typed("--set 'model.degree={}' --set model.max_length=9 --set evaluate.top_p=1", "generate") == (
        "--model-setting 'degree={}' --model-setting max_length=9 --setting top_p=1"
    )
    unread = (
        "Type --option ignore=images, or in a recipe data.options: {ignore: [images]}. To allow it, give root=FOLDER."
    )
    assert as_typed(unread, "train") == (
        "Type --set data.options.ignore=images. To allow it, type --set data.options.root=FOLDER."
    )
    assert as_typed(unread, "data") == unread.replace("give root", "type --option root")
    assert command_of(["--plugin", "x.py", "data", "check"]) == "data" and command_of(["--help"]) == ""


@pytest.fixture
def place(tmp_path):
    tiny_llm(tmp_path / "model")
    rows = [{"question_text": f"Why {i}?", "chosen": "yes", "rejected": "no"} for i in range(3)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "model": {"path": str(tmp_path / "model"), "adapter": {"rank": 2}},
        "data": {"train": str(tmp_path / "pairs.jsonl"), "format": "trl"},
        "loss": {"name": "logistic", "beta": 0.1},
        "train": {"steps": 1, "batch_size": 2, "learning_rate": 1e-3, "mixed_precision": "no"},
        "output": str(tmp_path / "run"),
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def printed(monkeypatch, capsys, *arguments):
    """Runs the program as a shell does; returns its exit code and what it printed."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    monkeypatch.setattr(sys, "argv", ["diffalign", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        run()
    out, err = capsys.readouterr()
    return ended.value.code, out + err


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_mapping_of_columns_that_a_message_shows_works_where_it_is_typed(place, monkeypatch, capsys, command):
    arguments = {
        "check": ("data", "check", place / "pairs.jsonl", "--format", "trl"),
        "train": ("train", place / "recipe.yaml", "--check"),
    }[command]
    code, text = printed(monkeypatch, capsys, *arguments)
    hint = re.search(r'--(option|set) "[^"]*columns=[^"]*"', text)
    assert code == 2 and hint, text
    assert hint[1] == {"check": "option", "train": "set"}[command]
    option, value = shlex.split(hint[0])
    call(*arguments, option, re.sub(r"<[^>]*>|question_text", "question_text", value))


def test_hints_of_commands_without_a_recipe_name_their_options(place, monkeypatch, capsys):
    options = ("--model", place / "model", "--prompt", "a", "--output", place / "out")
    code, text = printed(monkeypatch, capsys, "generate", *options, "--kind", "txt")
    assert code == 2 and "--kind: there is no 'txt'" in text and "model.kind" not in text and "--set" not in text
    code, text = printed(monkeypatch, capsys, "generate", "--model", place / "modle", *options[2:], "--kind", "text")
    assert code == 2 and "--model" in text and "model.path" not in text and "Did you mean 'model'" in text


@pytest.mark.parametrize("command", ["check", "train"])
def test_the_hint_to_state_what_winners_mean_works_where_it_is_typed(place, monkeypatch, capsys, command):
    rows = [{"prompt": "p", "response_a": "x", "response_b": "y", "label": label} for label in (0, 1)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = {
        "check": ("data", "check", place / "pairs.jsonl"),
        "train": ("train", place / "recipe.yaml", "--set", "data.format=auto", "--check"),
    }[command]
    code, text = printed(monkeypatch, capsys, *arguments)
    hint = re.search(r'--(?:option|set) "[^"]*winners=[^"]*"', text)
    assert code == 2 and hint, text
    call(*arguments, *shlex.split(hint[0]))

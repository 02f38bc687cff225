"""Code outside the package adds losses, scorers, formats, labels and methods; a recipe names the modules to load."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

import diffalign
from diffalign import plugins
from diffalign.cli import app
from diffalign.errors import ConfigError, RunError
from diffalign.labels import LABELS
from diffalign.losses import LOSS_ALIASES, LOSSES
from diffalign.methods import METHODS
from diffalign.plugins import load_plugins
from diffalign.scorers import SCORERS
from tests.tiny_text import tiny_llm

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text()
CODE = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
(RECIPE,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
WORDS = ["red", "blue", "green", "gray", "pink", "gold", "lime", "teal", "navy", "plum"]


@pytest.fixture(autouse=True)
def tables_as_before(monkeypatch):
    """Rows that a test registers are gone after it."""
    from diffalign.data.readers import READERS

    tables = [LOSSES, LOSS_ALIASES, SCORERS, READERS, LABELS, METHODS, plugins._FILES]
    before = [dict(table) for table in tables]
    modules = set(sys.modules)
    yield
    for table, rows in zip(tables, before, strict=True):
        table.clear()
        table.update(rows)
    for name in set(sys.modules) - modules:
        if "plugin" in name:
            del sys.modules[name]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The page's plugin and recipe in a working directory, with a tiny model and a table in the plugin's format."""
    tiny_llm(tmp_path / "model")
    (tmp_path / "my_plugin.py").write_text(CODE)
    rows = [
        {"question": f"Say {w}:", "left_text": f" {w}", "right_text": f" {w} {w}!", "better": ("left", "right")[k % 2]}
        for k, w in enumerate(WORDS)
    ]
    rows.append({**rows[0], "better": "neither"})
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = yaml.safe_load(RECIPE)
    values["model"] |= {"path": str(tmp_path / "model"), "cache": str(tmp_path / "cache")}
    values["train"] |= {"steps": 2, "learning_rate": 1e-3, "mixed_precision": "no"}
    values |= {"log": {"every": 1}, "guard": {"action": "off"}}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_plugin_of_the_page_trains_from_a_recipe_and_resumes_from_the_recipe_of_the_run(place):
    result = diffalign.train("recipe.yaml")
    first = json.loads((result.output / "metrics.jsonl").read_text().splitlines()[0])
    assert result.steps == 2 and first["loss"] == 1.0  # exp(0), whatever the label doubts
    saved = yaml.safe_load((result.output / "recipe.yaml").read_text())
    assert saved["plugins"] == ["my_plugin.py"] and saved["loss"]["name"] == "exponential"
    for table in (LOSSES, LABELS):  # as in another process, which has loaded nothing
        table.pop("exponential", table.pop("by_length", None))
    plugins._FILES.clear()
    LOSSES.pop("exponential", None), METHODS.pop("careful", None), SCORERS.pop("shouting", None)
    from diffalign.data.readers import READERS

    READERS.pop("two_sided", None)
    saved["train"]["steps"] = 3
    assert diffalign.train(saved, resume=True).steps == 3


def test_a_plugin_adds_a_scorer_a_format_and_a_method_and_pages_on_them(place):
    load_plugins("my_plugin.py")
    scorer = diffalign.load_scorer("shouting:3")
    assert scorer.score(["a", "b"], ["no", "yes!!"]).tolist() == [0.0, 6.0]
    found = diffalign.read_pairs(place / "votes.jsonl")
    assert found.format == "two_sided" and len(found.pairs) == 10 and len(found.dropped) == 1
    values = yaml.safe_load((place / "recipe.yaml").read_text())
    del values["labels"], values["loss"]
    assert diffalign.make_recipe({**values, "method": "careful"}).labels.hyper == {"doubt": 0.2}
    for name in ("exponential", "by_length", "careful"):
        result = CliRunner().invoke(app, ["--plugin", "my_plugin.py", "methods", name])
        assert result.exit_code == 0 and name in result.output


def test_a_loss_of_a_plugin_is_a_loss_like_all_others(place):
    load_plugins(["my_plugin.py"])
    loss = LOSSES["exponential"].bind(beta=2.0, f_divergence="js")
    assert loss.at_zero == 1.0 and "logp_scale" in loss.hyper
    with pytest.raises(ValueError, match="beta is the inverse temperature.*got -1"):
        LOSSES["exponential"].function(torch.zeros(1), beta=-1.0)


def test_a_plugin_is_loaded_once_and_a_module_is_found_as_python_finds_it(place, monkeypatch):
    load_plugins(["my_plugin.py"])
    load_plugins(["my_plugin.py", "./my_plugin.py"])  # a second run of it would be refused: its names are taken
    monkeypatch.syspath_prepend(str(place))
    (place / "other_plugin.py").write_text(
        "import diffalign\nfrom diffalign.losses import LOSSES\nseen = sorted(LOSSES)\n"
    )
    assert load_plugins("other_plugin") == ("other_plugin",)
    assert "exponential" in sys.modules["other_plugin"].seen


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["absent.py"], r"there is no file 'absent.py' for plugins"),
        (["no_such_plugin"], r"no module 'no_such_plugin'.*plugins: \[no_such_plugin.py\]"),
        (["broken.py"], r"'broken.py' raised ZeroDivisionError: .*broken.py, line 2"),
        (["wrong.py"], r"'wrong.py' raised SyntaxError: .*wrong.py, line 1"),
        (["taken.py"], r"there is a loss 'hinge' in diffalign, which keeps its meaning"),
        ({"a": 1}, r"plugins are modules or files of Python"),
        ([3], r"plugins are modules or files of Python"),
    ],
)
def test_a_plugin_that_cannot_be_loaded_is_named_with_its_line(place, names, says):
    (place / "broken.py").write_text("x = 0\n1 / x\n")
    (place / "wrong.py").write_text("def (:\n")
    (place / "taken.py").write_text(
        "import diffalign\nfrom diffalign.losses import LOSSES\ndiffalign.register_loss(LOSSES['hinge'])\n"
    )
    with pytest.raises(ConfigError, match=says):
        load_plugins(names)
    values = yaml.safe_load((place / "recipe.yaml").read_text())
    with pytest.raises(ConfigError, match=says):
        diffalign.make_recipe({**values, "plugins": names})


def test_names_that_are_taken_are_refused_and_a_row_of_ones_own_is_replaced_on_demand():
    hinge = LOSSES["hinge"]
    mine = diffalign.register_loss(replace(hinge, name="mine", aliases=("my_hinge",)))
    assert LOSSES["mine"] is mine and LOSS_ALIASES["my_hinge"] == "mine"
    with pytest.raises(ValueError, match="there is a loss 'mine' already.*replace=True"):
        diffalign.register_loss(mine)
    with pytest.raises(ValueError, match="there is a loss 'my_hinge' already"):
        diffalign.register_loss(replace(hinge, name="third", aliases=("my_hinge",)))
    newer = diffalign.register_loss(replace(hinge, name="mine", aliases=("my_second",)), replace=True)
    assert LOSSES["mine"] is newer and "my_hinge" not in LOSS_ALIASES and LOSS_ALIASES["my_second"] == "mine"
    with pytest.raises(ValueError, match="'sigmoid' in diffalign, which keeps its meaning"):
        diffalign.register_loss(replace(hinge, name="sigmoid", aliases=()))
    with pytest.raises(ConfigError, match="there is a label 'hard' in diffalign"):
        diffalign.register_label("hard", LABELS["column"])
    with pytest.raises(ConfigError, match="a method 'smpo' in diffalign"):
        diffalign.register_method(METHODS["smpo"])
    with pytest.raises(ConfigError, match="name of a scorer is one word"):
        diffalign.register_scorer("a:b", SCORERS["length"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"limits": {}}, "has no range for beta"),
        ({"needs": ("reference", "rewads")}, "needs 'rewads', which there is not.*Did you mean 'rewards'"),
        ({"choices": {"form": ("a", "b")}}, "has a range for 'form', but its function has no such"),
        ({"takes": "margins"}, "takes of the loss 'new' is one of margin, logps.*Did you mean 'margin'"),
        ({"kind": "pairs"}, "kind of the loss 'new' is one of pair, single, list.*Did you mean 'pair'"),
        ({"media": ("text", "images")}, "media of the loss 'new' is one of .*Did you mean 'image'"),
        ({"function": lambda margin, beta=0.1: margin}, r"it has margin, beta\. Write a star"),
    ],
)
def test_a_row_that_no_run_could_follow_is_refused_in_words(change, says):
    with pytest.raises(ValueError, match=says):
        diffalign.register_loss(replace(LOSSES["hinge"], name="new", aliases=(), **change))


@pytest.mark.parametrize(
    ("register", "wrong"),
    [
        (lambda x: diffalign.register_loss(x), "a loss is registered as a row"),
        (lambda x: diffalign.register_scorer("new", x), "a scorer is registered as an entry"),
        (lambda x: diffalign.register_reader(x), "a format is registered as a reader"),
        (lambda x: diffalign.register_label("new", x), "a label is a function of pairs"),
        (lambda x: diffalign.register_method(x), "a method is registered as a preset"),
    ],
)
def test_what_is_no_row_is_refused(register, wrong):
    with pytest.raises((ValueError, ConfigError), match=wrong):
        register(7)


@pytest.mark.parametrize(
    ("shape", "says"), [(lambda m: m.mean(), "a single number"), (lambda m: m[:, None], r"shape \(2, 1\)")]
)
def test_a_loss_that_is_not_one_number_per_pair_stops_the_run(place, shape, says):
    def misshapen(margin, *, beta):
        return shape(beta * margin)

    diffalign.register_loss(replace(LOSSES["hinge"], name="misshapen", aliases=(), function=misshapen), replace=True)
    recipe = yaml.safe_load((place / "recipe.yaml").read_text()) | {"loss": {"name": "misshapen", "beta": 0.1}}
    recipe["train"]["batch_size"] = 2
    with pytest.raises(RunError, match=f"'misshapen' returned .*{says}.* for 2 examples"):
        diffalign.train(recipe)


def test_modules_and_files_find_modules_of_the_working_directory_and_the_path_is_as_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    before = list(sys.path)
    (tmp_path / "plugin_room").mkdir()
    (tmp_path / "plugin_room" / "near.py").write_text("NEAR = 1\n")
    (tmp_path / "plugin_room" / "far.py").write_text("from plugin_room.near import NEAR\n")
    (tmp_path / "single_plugin.py").write_text("from plugin_room.far import NEAR\n")
    assert load_plugins(["plugin_room.near", "single_plugin.py"]) == ("plugin_room.near", "single_plugin.py")
    assert sys.modules["plugin_room.far"].NEAR == 1
    assert sys.path == before

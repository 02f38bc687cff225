"""The top level: names that type checkers and editors see, the version, and recipes in each of their forms."""

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import diffalign
from diffalign.cli import app
from diffalign.errors import ConfigError
from diffalign.training.loop import train
from tests.tiny_text import text_pairs, tiny_llm

ROOT = Path(diffalign.__file__).parents[1]
USER_FILE = """
import diffalign

recipe = diffalign.load_recipe("recipe.yaml", ["train.steps=100"])
result = diffalign.train("recipe.yaml", resume=True)
reveal_type(result.steps)
reveal_type(diffalign.train({"output": "runs/a"}).output)
reveal_type(recipe)
reveal_type(diffalign.load_scorer("clip"))
diffalign.train(7)
diffalign.no_such_name("recipe.yaml")
"""
SETTINGS = """
[mypy]
ignore_missing_imports = True
[mypy-torch.*,numpy.*,scipy.*,diffusers.*,transformers.*,peft.*,accelerate.*,datasets.*,PIL.*,matplotlib.*,pydantic.*]
follow_imports = skip
"""
"""Reading the types of torch and its like takes minutes, and the names of the top level need none of them."""


def test_names_for_type_checkers_are_the_names_that_are_imported_on_first_use():
    tree = ast.parse(Path(diffalign.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: line.module for line in block.body for alias in line.names}
    assert seen == diffalign._ROOMS and {"__version__", *seen} == set(diffalign.__all__) == set(dir(diffalign))
    for name in diffalign.__all__:
        assert getattr(diffalign, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'; it has .*train"):
        diffalign.no_such_name  # noqa: B018


def test_a_type_checker_sees_real_types_in_a_users_file(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text(USER_FILE)
    (tmp_path / "mypy.ini").write_text(SETTINGS)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", "cache", "user.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert [line.partition(": ")[2] for line in found.stdout.splitlines() if line.startswith("user.py")] == [
        'note: Revealed type is "int"',
        'note: Revealed type is "pathlib.Path"',
        'note: Revealed type is "diffalign.training.recipe.schema.Recipe"',
        'note: Revealed type is "diffalign.scorers.compare.Judge"',
        'error: Argument 1 to "train" has incompatible type "int"; expected "Recipe | str | Path | Mapping[str, Any]"  '
        "[arg-type]",
        'error: Module has no attribute "no_such_name"  [attr-defined]',
    ], found.stdout + found.stderr


def test_a_wheel_has_the_marker_of_types_and_everything_else_of_the_package(tmp_path):
    pytest.importorskip("setuptools")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "diffalign", tmp_path / "diffalign", ignore=shutil.ignore_patterns("__pycache__"))
    build = "from setuptools.build_meta import build_wheel; build_wheel('wheel')"
    files = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "diffalign").rglob("*") if path.is_file()}
    subprocess.run([sys.executable, "-c", build], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob(f"diffalign-{diffalign.__version__}-*.whl")
    assert "diffalign/py.typed" in files and files <= set(zipfile.ZipFile(wheel).namelist())


def test_the_command_says_its_version():
    assert CliRunner().invoke(app, ["--version"]).output == f"diffalign {diffalign.__version__}\n"


def test_train_takes_a_recipe_a_file_or_nested_values(tmp_path):
    tiny_llm(tmp_path / "model")
    values = {
        "model": {"kind": "text", "path": str(tmp_path / "model"), "adapter": {"rank": 2}},
        "data": {"train": "in memory"},
        "loss": {"name": "logistic", "beta": 0.1},
        "train": {"steps": 1, "batch_size": 2, "learning_rate": 1e-3},
        "guard": {"action": "off"},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**values, "output": str(tmp_path / "file")}))
    forms = [
        diffalign.make_recipe({**values, "output": str(tmp_path / "recipe")}),
        tmp_path / "recipe.yaml",
        {**values, "output": tmp_path / "values"},  # also with paths of Python
    ]
    losses = [train(form, pairs=text_pairs(4)).metrics["loss"] for form in forms]
    assert losses[0] == losses[1] == losses[2]
    with pytest.raises(ConfigError, match="there is no recipe 'absent.yaml'"):
        diffalign.train("absent.yaml")
    with pytest.raises(ConfigError, match="these values are missing: model, data, loss, train"):
        diffalign.align({"output": "runs/a"})

"""`diffalign train --check` finds what can be found without training, and says what to type."""

import json

import pytest
import yaml

from diffalign.errors import ConfigError, RunError
from tests.cli.test_commands import call
from tests.tiny import tiny_pairs, tiny_sd
from tests.tiny_text import tiny_llm


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    tiny_llm(folder / "llm")
    tiny_sd(folder / "sd")
    rows = [{"prompt": f"Why {i}?", "chosen": "yes", "rejected": "no"} for i in range(4)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [
        {"prompt": pair.prompt, "chosen_file_name": pair.chosen.name, "rejected_file_name": pair.rejected.name}
        for pair in tiny_pairs(folder / "images", 4)
    ]
    (folder / "images" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "model": {"path": str(folder / "llm"), "adapter": {"rank": 2}},
        "data": {"train": str(folder / "texts.jsonl")},
        "loss": {"name": "logistic", "beta": 0.1},
        "train": {"steps": 1, "batch_size": 2, "learning_rate": 1e-3, "mixed_precision": "no"},
        "output": str(folder / "run"),
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def check(place, *overrides):
    options = [part for override in overrides for part in ("--set", override)]
    return call("train", place / "recipe.yaml", "--check", *options)


def test_pairs_of_another_medium_than_the_models_are_refused_before_it_is_opened(place):
    with pytest.raises(ConfigError, match=r"candidates are images, but this model makes texts.*kind=image"):
        check(place, f"data.train={place / 'images'}")
    with pytest.raises(ConfigError, match=r"candidates are texts, but this model makes images.*--set model.kind=text"):
        check(place, f"model.path={place / 'sd'}")
    with pytest.raises(ConfigError, match=r"candidates are images, but"):
        check(place, f"data.eval={place / 'images'}")


def test_an_output_that_cannot_be_written_is_refused(place):
    (place / "file").write_text("")
    for output in ("file", "file/run", "texts.jsonl"):
        with pytest.raises(RunError, match="--set output=FOLDER"):
            check(place, f"output={place / output}")
    assert (place / "file").read_text() == ""


def test_a_check_works_beside_an_existing_run_and_changes_nothing(place):
    call("train", place / "recipe.yaml")
    before = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    shown = check(place, "train.learning_rate=1")
    assert "already holds a run (up to step 1)" in " ".join(shown.split())
    assert before == {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="already holds a run"):
        call("train", place / "recipe.yaml")

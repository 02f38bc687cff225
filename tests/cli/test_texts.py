"""The command line on a tiny random language model: the same commands as for images, with messages about texts."""

import json
import re

import pytest
import yaml

from diffalign.errors import ConfigError, UserError
from tests.cli.test_commands import call
from tests.tiny_text import text_pairs, tiny_llm

SHORT = ("--setting", "max_new_tokens=6")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli-text")
    tiny_llm(folder / "model")
    pairs = text_pairs(8)
    for name, part in (("train", pairs), ("eval", pairs[:4])):
        rows = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in part]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "model": {"path": str(folder / "model"), "adapter": {"rank": 2}, "cache": str(folder / "cache")},
        "data": {"train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl")},
        "loss": {"name": "logistic", "beta": 0.1},
        "train": {"steps": 2, "batch_size": 2, "learning_rate": 1e-3, "mixed_precision": "no"},
        "log": {"every": 1},
        "previews": {"prompts": ["a fox"], "max_new_tokens": 4},
        "evaluate": {"prompts": ["a fox", "<b>an owl</b>"], "scorers": ["length"], "max_new_tokens": 6},
        "output": str(folder / "run"),
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def test_a_whole_run_leaves_adapter_card_report_texts_and_held_out_accuracy(place):
    call("train", place / "recipe.yaml")
    run = place / "run"
    page = (run / "report.html").read_text()
    assert "<b>an owl" not in page and "<blockquote" in page and "<img" not in page
    assert "implicit accuracy" in page and "Mean length:" in page
    assert not (run / "before_after.png").exists()
    assert [path.suffix for path in (run / "previews" / "step-00000002").iterdir()] == [".txt"]
    card = (run / "result" / "README.md").read_text()
    assert "text-generation" in card and "implicit accuracy on 4 held-out pairs" in card and "by length" in card
    options = ["--model", place / "model", "--adapter", run / "result", "--prompt", "a fox", *SHORT]
    output = call("generate", *options, "--output", place / "texts", "--seeds", 2)
    assert "2 texts" in output and "[a fox | seed 1]" in output
    rows = [json.loads(line) for line in (place / "texts" / "metadata.jsonl").read_text().splitlines()]
    assert [row["seed"] for row in rows] == [0, 1] and all("completion" in row for row in rows)
    output = call("compare", *options, "--output", place / "compared", "--scorer", "length")
    assert "report.html" in output and "image" not in output


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        (["--setting", "temprature=1"], ConfigError, "--setting temprature: there is no such setting. Did you mean"),
        (["--setting", "guidance=1"], ConfigError, "no such setting. Known: beams"),
        (["--steps", "3"], ConfigError, "--setting steps: there is no such setting"),
        (["--setting", "top_p=2"], ConfigError, "--setting top_p: must be less than or equal to 1; got 2"),
        (["--setting", "top_p"], ConfigError, "--setting top_p is not KEY=VALUE"),
        (["--model-setting", "max_lenth=9"], ConfigError, "Did you mean 'max_length'? Type: --model-setting max_le"),
        (["--kind", "txt"], ConfigError, "model.kind: there is no 'txt'. Did you mean 'text'?"),
        (["--kind", "image"], ConfigError, "folder without model_index.json"),
    ],
)
def test_an_unknown_setting_is_refused_before_the_model_is_loaded(place, options, error, says):
    with pytest.raises(error, match=re.escape(says)):
        call("generate", "--model", place / "model", "--prompt", "x", "--output", place / "no", *options)
    assert not (place / "no").exists()


def test_a_judge_of_images_is_refused_for_texts(place):
    options = ["--model", place / "model", "--adapter", "nowhere", "--prompt", "x", "--output", place / "no"]
    with pytest.raises(UserError, match=r"judges images, but there are texts.*sentiment"):
        call("compare", *options, "--scorer", "background:red")
    with pytest.raises(UserError, match="judges images"):
        call(
            "train",
            place / "recipe.yaml",
            "--set",
            "evaluate.scorers=['background:red']",
            "--set",
            f"output={place / 'no'}",
        )


def test_scores_are_not_written_to_a_folder(place):
    with pytest.raises(UserError, match="is a folder. Name a file in it"):
        call("score", place / "train.jsonl", "--scorer", "length", "--output", place)

"""The command line end to end on a tiny random Stable Diffusion: every command and its error messages."""

import json
import re

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from diffalign.cli import app
from diffalign.errors import ConfigError, DataError, RunError, UserError
from tests.tiny import RESOLUTION, tiny_sd


def call(*arguments: object) -> str:
    """Runs the command and returns its output; user errors are raised."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    tiny_sd(folder / "model")
    random = np.random.default_rng(0)
    (folder / "pairs").mkdir()
    rows = []
    for number in range(6):
        row = {"prompt": f"a fox, number {number}"}
        for role in ("chosen", "rejected"):
            row[f"{role}_file_name"] = f"{number}-{role}.png"
            pixels = random.integers(0, 256, (RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pairs" / row[f"{role}_file_name"])
        rows.append(row)
    (folder / "pairs" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "method": "diffusion_dpo",
        "model": {"path": str(folder / "model"), "adapter": {"rank": 2}, "cache": str(folder / "cache")},
        "data": {"train": str(folder / "pairs")},
        "train": {"steps": 3, "batch_size": 2, "learning_rate": 1e-3, "scale_lr": False, "warmup_steps": 1},
        "log": {"every": 1},
        "previews": {"prompts": ["a fox"], "every": 2, "steps": 2},
        "evaluate": {
            "prompts": ["a fox", "<b>an owl</b>"],
            "scorers": ["background:red"],
            "trained_on": ["background:blue"],
            "steps": 2,
        },
        "output": str(folder / "run"),
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def run(place):
    call("train", place / "recipe.yaml")
    return place / "run"


def test_training_leaves_adapter_card_report_images_and_metrics(run):
    page = (run / "report.html").read_text()
    assert "<b>an owl" not in page and "&lt;b&gt;an owl" in page
    assert (run / "result" / "pytorch_lora_weights.safetensors").exists()
    card = (run / "result" / "README.md").read_text()
    assert "library_name: diffusers" in card and "background:red" in card
    precision = yaml.safe_load((run / "recipe.yaml").read_text())["train"]["mixed_precision"]
    shown = {"no": "float32", "bf16": "bf16"}[precision]
    assert f"| precision | {shown} |" in card
    assert Image.open(run / "before_after.png").width > 100
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3] and rows[0]["loss"] == pytest.approx(np.log(2), abs=1e-6)
    assert {"rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen"} <= set(
        rows[0]
    )
    looks = ["step-00000000", "step-00000002", "step-00000003"]
    assert sorted(p.name for p in (run / "previews").iterdir() if p.is_dir()) == looks


def test_the_whole_adapter_goes_through_generate_and_compare(run, place):
    out = place / "images"
    options = ["--model", place / "model", "--adapter", run / "result", "--prompt", "a fox", "--steps", 2]
    assert "2 images" in call("generate", *options, "--output", out, "--seeds", 2)
    assert "background:red" in call("score", out, "--scorer", "background:red")
    output = call("compare", *options, "--output", place / "compared", "--scorer", "background:red")
    assert "report.html" in output and (place / "compared" / "comparison.json").exists()
    folders = ["--base", place / "compared" / "base", "--aligned", place / "compared" / "aligned"]
    assert "report.html" in call("compare", *folders, "--scorer", "background:red", "--output", place / "again")


def test_check_prints_the_header_and_writes_nothing(place):
    call("train", place / "recipe.yaml", "--check", "--set", f"output={place / 'unmade'}")
    assert not (place / "unmade").exists()


def test_an_output_folder_of_another_run_is_refused(run, place):
    with pytest.raises(RunError, match="--resume"):
        call("train", place / "recipe.yaml")


def test_a_finished_run_resumes_to_the_same_adapter(run, place):
    file = run / "result" / "pytorch_lora_weights.safetensors"
    before = load_file(file)
    call("train", place / "recipe.yaml", "--resume")
    after = load_file(file)
    assert set(after) == set(before) and all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("setting", "error", "says"),
    [
        ("train.learning_rat=1", ConfigError, "learning_rate"),
        ("loss.beta=-1", ConfigError, "beta"),
        ("loss.bta=1", ConfigError, "beta"),
        ("train.steps=0", ConfigError, "train.steps"),
        ("data.train=nowhere", DataError, "nowhere"),
        ("evaluate.scorers=[backgroud:red]", UserError, "background"),
        ("evaluate.prompts=['@nowhere.txt']", UserError, "nowhere.txt"),
        ("model.path=nowhere/at/all", ConfigError, "nowhere/at/all"),
        ("method=diffusion_dop", ConfigError, "diffusion_dpo"),
    ],
)
def test_a_mistake_in_a_recipe_is_named_before_anything_is_written(place, setting, error, says):
    with pytest.raises(error, match=re.escape(says)):
        call("train", place / "recipe.yaml", "--set", f"output={place / 'unmade'}", "--set", setting)
    assert not (place / "unmade").exists()


def test_an_adapter_of_another_base_is_refused(run, place):
    tiny_sd(place / "other", seed=1)
    with pytest.raises(UserError, match="base"):
        call(
            "generate",
            "--model",
            place / "other",
            "--adapter",
            run / "result",
            "--prompt",
            "x",
            "--output",
            place / "no",
        )


def test_data_check_reads_the_pairs(place):
    assert "The data set is ready" in call("data", "check", place / "pairs")


def test_methods_lists_and_explains():
    listing = call("methods")
    assert "diffusion_dpo" in listing and "hinge" in listing
    assert "arXiv 2311.12908" in call("methods", "diffusion_dpo")
    assert "max(0, 1 - beta m)" in call("methods", "hinge")
    assert "takes: kind = sign" in call("methods", "seppo_gate") and "needs    a network" in call("methods", "renoise")
    with pytest.raises(UserError, match="hinge"):
        call("methods", "hing")

"""The precision of a run is chosen once, said, kept by its resumes, and the same in all of its processes."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from diffalign.devices.bf16_support import Bf16
from diffalign.errors import RunError
from diffalign.training.loop import train
from diffalign.training.recipe.schema import Train
from diffalign.training.setup import resolve_mixed_precision
from diffalign.training.setup.resolve_mixed_precision import settle_precision
from diffalign.training.storage.run_folder import RunFolder
from tests.tiny_text import text_pairs, tiny_llm
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

ROOT = Path(__file__).parents[3]
FAST, SLOW = Bf16(True, "bf16 is fast", 0.5), Bf16(False, "bf16 takes 33 times as long", 33.0)


@pytest.fixture
def device(monkeypatch):
    """Says how the device does in bf16."""
    return lambda found: monkeypatch.setattr(resolve_mixed_precision, "try_bf16", lambda place: found)


def run(folder, wanted="auto", resume=False, **changes):
    recipe = toy_recipe(folder, train__mixed_precision=wanted, **changes)
    return train(recipe, policy=ToyPolicy(), pairs=toy_pairs(), resume=resume)


def stored(folder):
    return yaml.safe_load((folder / "recipe.yaml").read_text())["train"]["mixed_precision"]


def header(said):
    (line,) = (line for line in said.splitlines() if line.startswith("precision"))
    return " ".join(line.split())


def test_a_recipe_leaves_the_choice_open():
    assert Train(steps=1, learning_rate=1.0).mixed_precision == "auto"


@pytest.mark.parametrize(("found", "value", "name"), [(FAST, "bf16", "bf16"), (SLOW, "no", "float32")])
def test_the_choice_is_in_header_folder_and_result(tmp_path, device, capsys, found, value, name):
    device(found)
    result = run(tmp_path)
    said = capsys.readouterr().err
    assert header(said) == f"precision {name} (auto: {found.reason})" and "warning: bf16" not in said
    assert stored(tmp_path) == result.recipe.train.mixed_precision == value
    about = json.loads((tmp_path / "result" / "toy.json").read_text())["about"]
    assert about["recipe"]["train"]["mixed_precision"] == value


def test_the_networks_compute_in_the_chosen_precision(tmp_path, device):
    losses = {}
    for name, found, wanted in (
        ("auto", FAST, "auto"),
        ("bf16", FAST, "bf16"),
        ("slow", SLOW, "auto"),
        ("no", SLOW, "no"),
    ):
        device(found)
        losses[name] = run(tmp_path / name, wanted).metrics["loss"]
    assert losses["auto"] == losses["bf16"] != losses["no"] == losses["slow"]


def test_bf16_on_a_slow_device_prints_a_warning_with_the_factor(tmp_path, device, capsys):
    device(SLOW)
    run(tmp_path, "bf16")
    said = capsys.readouterr().err
    assert header(said) == "precision bf16" and stored(tmp_path) == "bf16"
    assert "warning: bf16 takes 33 times as long" in said and "--set train.mixed_precision=auto" in said


def test_float32_in_a_recipe_costs_no_trial(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resolve_mixed_precision, "try_bf16", lambda place: pytest.fail("a trial"))
    run(tmp_path, "no")
    assert header(capsys.readouterr().err) == "precision float32"


@pytest.mark.parametrize(("first", "then"), [(FAST, SLOW), (SLOW, FAST)])
def test_a_resumed_run_keeps_its_precision_on_another_machine(tmp_path, device, capsys, first, then):
    device(first)
    straight = run(tmp_path / "straight", log__every=5)
    run(tmp_path / "parts", train__steps=5, log__every=5)
    capsys.readouterr()
    device(then)
    resumed = run(tmp_path / "parts", resume=True, log__every=5)
    said = capsys.readouterr().err
    assert "(as the run began)" in header(said) and ("33 times" in said) == (then is SLOW)
    assert stored(tmp_path / "parts") == stored(tmp_path / "straight")
    one, other = straight.policy.state(), resumed.policy.state()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_run_takes_no_other_precision(tmp_path, device):
    device(FAST)
    run(tmp_path, train__steps=5)
    with pytest.raises(RunError, match="train.mixed_precision was 'bf16', now 'no'"):
        run(tmp_path, "no", resume=True)


def test_float16_weights_compute_as_they_are(tmp_path, device):
    device(FAST)
    recipe = toy_recipe(tmp_path, train__mixed_precision="auto")
    model = type("Half", (), {"dtype": "float16"})()
    settled, said = settle_precision(recipe.model_copy(update={"model": model}), RunFolder(tmp_path))
    assert settled.train.mixed_precision == "no" and "float16" in said.summary


def test_a_stored_reference_belongs_to_one_precision(tmp_path, device):
    llm = tiny_llm(tmp_path / "llm")
    values = {"kind": "text", "path": str(llm), "cache": str(tmp_path / "cache"), "adapter": {"rank": 2}}
    counted = []
    for number, found in enumerate((FAST, SLOW, FAST)):
        device(found)
        changes = {"train__mixed_precision": "auto", "train__steps": 1, "loss__beta": 0.1}
        recipe = toy_recipe(tmp_path / str(number), model={**values, "reference": "stored"}, **changes)
        counted.append(train(recipe, pairs=text_pairs(8)).policy.forward_counts.reference)
    assert counted[0] == counted[1] > 0 and counted[2] == 0


SETTLED = """
import os, sys
from diffalign.devices.bf16_support import Bf16
from diffalign.training.setup import resolve_mixed_precision
from diffalign.training.storage.run_folder import RunFolder
from tests.training.toy import toy_recipe
slow = os.environ["RANK"] in sys.argv[2:]
resolve_mixed_precision.try_bf16 = lambda device: Bf16(not slow, "slow" if slow else "fast", 33.0 if slow else 0.5)
recipe = toy_recipe(sys.argv[1], train__mixed_precision="auto")
recipe, said = resolve_mixed_precision.settle_precision(recipe, RunFolder(sys.argv[1]))
print(recipe.train.mixed_precision, said.summary)
"""


@pytest.mark.parametrize(("slow", "said"), [((), "bf16 bf16 (auto: fast)"), (("1",), "no float32 (auto: slow)")])
def test_the_slowest_process_decides_for_all(tmp_path, slow, said):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    quiet = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", SETTLED, str(tmp_path / "run"), *slow]
    both = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **quiet, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in both:
        out, errors = process.communicate(timeout=280)
        assert out.strip() == said, errors[-3000:]

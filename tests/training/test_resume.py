"""A killed run goes on as if nothing had happened, and two processes do what one does."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffalign.training.loop import train
from diffalign.training.storage.checkpoint import read_checkpoint
from diffalign.training.storage.checkpoint_folder import complete_checkpoints
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

ROOT = Path(__file__).parents[2]


def start(folder, *arguments, **environment):
    command = [sys.executable, "-m", "tests.training.toy", str(folder), *arguments]
    quiet = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **quiet, **environment}, stderr=subprocess.PIPE)


def metrics(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in record.items() if not name.startswith("time/")} for record in records]


def same(one, other):
    a, b = read_checkpoint(complete_checkpoints(one)[-1]), read_checkpoint(complete_checkpoints(other)[-1])
    assert a.step == b.step and a.tensors.keys() == b.tensors.keys()
    for group in a.tensors:
        assert a.tensors[group].keys() == b.tensors[group].keys()
        for name, tensor in a.tensors[group].items():
            assert torch.equal(tensor, b.tensors[group][name]), (group, name)
    drop = {"metrics_bytes"}  # the lines' timings differ in length
    assert {k: v for k, v in a.facts.items() if k not in drop} == {k: v for k, v in b.facts.items() if k not in drop}


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    # log.every 3 and checkpoint.every 5: the checkpoint falls into the middle of a log window.
    killed = start(tmp_path / "killed", "die_at=15", "log__every=3")  # two micro-batches a step: in step 8
    _, errors = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, errors.decode()
    assert len(metrics(tmp_path / "killed")) == 2
    resumed = ToyPolicy()
    train(toy_recipe(tmp_path / "killed", log__every=3), policy=resumed, pairs=toy_pairs(), resume=True)
    straight = ToyPolicy()
    train(toy_recipe(tmp_path / "straight", log__every=3), policy=straight, pairs=toy_pairs())
    assert torch.equal(resumed.state()["change"], straight.state()["change"])
    assert resumed.seen == straight.seen[5 * 8 :]
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "straight")
    same(tmp_path / "killed/checkpoints", tmp_path / "straight/checkpoints")


@pytest.mark.parametrize("optimizer", ["adafactor", "sgd"])
def test_other_optimizers_resume_bit_for_bit_too(tmp_path, optimizer):
    changes = {"train__optimizer": optimizer, "log__every": 5}
    for folder, steps in (("parts", 5), ("straight", 10)):
        train(toy_recipe(tmp_path / folder, train__steps=steps, **changes), policy=ToyPolicy(), pairs=toy_pairs())
    train(toy_recipe(tmp_path / "parts", **changes), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)
    same(tmp_path / "parts/checkpoints", tmp_path / "straight/checkpoints")


def test_an_incomplete_checkpoint_is_passed_over(tmp_path):
    train(toy_recipe(tmp_path / "a"), policy=ToyPolicy(), pairs=toy_pairs())
    last = tmp_path / "a/checkpoints/step-00000010/policy.safetensors"
    last.write_bytes(last.read_bytes()[:-7])
    assert [path.name for path in complete_checkpoints(tmp_path / "a/checkpoints")] == ["step-00000005"]
    train(toy_recipe(tmp_path / "a"), policy=ToyPolicy(), pairs=toy_pairs(), resume=True)
    train(toy_recipe(tmp_path / "b"), policy=ToyPolicy(), pairs=toy_pairs())
    same(tmp_path / "a/checkpoints", tmp_path / "b/checkpoints")
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


def test_a_rollback_is_repeated_by_a_resumed_run(tmp_path):
    settings = {"train__steps": 40, "train__learning_rate": 1e-3, "log__every": 1, "checkpoint__every": 10}
    straight = ToyPolicy(shout=(61, 67))
    train(toy_recipe(tmp_path / "straight", **settings), policy=straight, pairs=toy_pairs(16))
    # Stopped (by running out of steps) after the rollback of step 33, before the next checkpoint.
    first = {**settings, "train__steps": 35}
    train(toy_recipe(tmp_path / "parts", **first), policy=ToyPolicy(shout=(61, 67)), pairs=toy_pairs(16))
    last = complete_checkpoints(tmp_path / "parts/checkpoints")[-1]
    for path in last.iterdir():
        path.unlink()
    again = ToyPolicy(shout=(1, 7))  # the same batches shout: steps 31 to 33 are the first three after step 30
    train(toy_recipe(tmp_path / "parts", **settings), policy=again, pairs=toy_pairs(16), resume=True)
    assert torch.equal(again.state()["change"], straight.state()["change"])
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "straight")


def test_two_processes_equal_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    two = [start(tmp_path / "two", RANK=str(rank), LOCAL_RANK=str(rank), **world) for rank in range(2)]
    for process in two:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors.decode()
    policy = ToyPolicy()
    train(toy_recipe(tmp_path / "one", train__micro_batch_size=8), policy=policy, pairs=toy_pairs())
    seen, changes, _ = zip(
        *(json.loads((tmp_path / f"two/seen-{rank}.json").read_text()) for rank in range(2)), strict=True
    )
    halves = [[tuple(visit) for visit in part] for part in seen]
    steps = [[half[4 * k : 4 * k + 4] for half in halves] for k in range(10)]
    assert [visit for step in steps for half in step for visit in half] == policy.seen
    assert changes[0] == changes[1]
    assert torch.allclose(torch.tensor(changes[0]), policy.state()["change"], atol=1e-5, rtol=1e-4)
    for one, other in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), name

"""Checkpoints on disk: complete or absent, few, never pickled."""

import math

import pytest
import torch

from diffalign.errors import RunError
from diffalign.training.storage.checkpoint import (
    Snapshot,
    check_disk,
    complete_checkpoints,
    read_checkpoint,
    write_checkpoint,
)


def snapshot(step):
    return Snapshot(step, {"policy": {"w": torch.full((2,), float(step))}}, {"a": math.pi})


def test_checkpoints_come_back_and_old_ones_go(tmp_path):
    for step in (1, 2, 3):
        write_checkpoint(tmp_path, snapshot(step), keep=2)
    found = complete_checkpoints(tmp_path)
    assert [path.name for path in found] == ["step-00000002", "step-00000003"]
    back = read_checkpoint(found[-1])
    assert (
        back.step == 3
        and back.facts == {"a": math.pi}
        and torch.equal(back.tensors["policy"]["w"], torch.full((2,), 3.0))
    )


@pytest.mark.parametrize("damage", ["halved", "removed", "unlisted", "half-written"])
def test_incomplete_checkpoints_count_as_absent(tmp_path, damage):
    write_checkpoint(tmp_path, snapshot(1), keep=3)
    path = write_checkpoint(tmp_path, snapshot(2), keep=3)
    if damage == "halved":
        (path / "policy.safetensors").write_bytes(b"12")
    elif damage == "removed":
        (path / "policy.safetensors").unlink()
    elif damage == "unlisted":
        (path / "state.json").write_text('{"version": 1, "st')
    else:
        path.rename(tmp_path / ".step-00000002.77")
    assert [p.name for p in complete_checkpoints(tmp_path)] == ["step-00000001"]
    write_checkpoint(tmp_path, snapshot(3), keep=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def test_nothing_is_pickled(tmp_path):
    path = write_checkpoint(tmp_path, snapshot(1), keep=1)
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}


def test_a_full_disk_is_refused_before_training(tmp_path):
    check_disk(tmp_path / "not" / "yet", 10)
    with pytest.raises(RunError, match=r"GB free.*checkpoint.keep=1"):
        check_disk(tmp_path / "not" / "yet", 10**18)

"""The pool of earlier checkpoints: entries are exact, complete or absent, and selected as the method says."""

import shutil
from collections import Counter, namedtuple

import pytest
import torch
from scipy.stats import chisquare

from diffalign.errors import RunError
from diffalign.pairs.checkpoint_pool import SELECTIONS, CheckpointPool, digest, select

STATE = {
    "a.weight": torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),
    "half": torch.tensor([1.5, -0.0, float("nan")], dtype=torch.bfloat16),
    "count": torch.tensor(7),
    "none": torch.zeros(0, 2),
}


def bits(tensors):
    return {name: (t.dtype, tuple(t.shape), t.reshape(-1).view(torch.uint8).tolist()) for name, t in tensors.items()}


def test_an_entry_comes_back_bit_for_bit(tmp_path):
    CheckpointPool(tmp_path / "pool").add(0, STATE)
    pool = CheckpointPool(tmp_path / "pool")
    assert bits(pool.load(0)) == bits(STATE)
    assert pool.indices() == [0] and pool.digest(0) == digest(STATE)
    assert pool.bytes() == sum(file.stat().st_size for file in (tmp_path / "pool").iterdir())


def test_the_digest_depends_on_every_bit_but_not_on_the_order():
    assert digest(STATE) == digest(dict(reversed(STATE.items())))
    changed = [
        {**STATE, "count": torch.tensor(8)},
        {**STATE, "count": torch.tensor(7, dtype=torch.int32)},
        {**STATE, "half": STATE["half"].abs()},
        {**STATE, "a.weight": STATE["a.weight"].reshape(3, 4)},
        {("b" if name == "count" else name): value for name, value in STATE.items()},
    ]
    assert len({digest(STATE), *map(digest, changed)}) == 6


def test_adding_the_same_tensors_again_does_nothing_and_other_tensors_are_refused(tmp_path):
    pool = CheckpointPool(tmp_path)
    pool.add(3, STATE)
    written = (tmp_path / "checkpoint-000003.safetensors").stat().st_mtime_ns
    pool.add(3, STATE)
    assert (tmp_path / "checkpoint-000003.safetensors").stat().st_mtime_ns == written
    with pytest.raises(RunError, match="another run"):
        pool.add(3, {**STATE, "count": torch.tensor(8)})
    assert bits(pool.load(3)) == bits(STATE)


def test_a_damaged_or_missing_entry_raises_an_error(tmp_path):
    pool = CheckpointPool(tmp_path)
    for index in range(3):
        pool.add(index, STATE)
    path = tmp_path / "checkpoint-000001.safetensors"
    whole = path.read_bytes()
    at = whole.index(STATE["a.weight"].numpy().tobytes())
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])  # one bit of a weight
    with pytest.raises(RunError, match="000001.* is damaged .its checksum differs.*--set output=FOLDER"):
        pool.load(1)
    for broken in (whole[:-5], whole[:20], b""):
        path.write_bytes(broken)
        with pytest.raises(RunError, match="is damaged"):
            pool.load(1)
    path.unlink()
    with pytest.raises(RunError, match="missing.*beginning of round 1.*There are: 0, 2"):
        pool.load(1)


def test_a_disk_that_is_too_small_raises_an_error_before_anything_is_written(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")(10, 9, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunError, match="GB free. Free some space"):
        CheckpointPool(tmp_path / "pool").add(0, STATE)
    assert not (tmp_path / "pool").exists()


def test_a_leftover_of_an_interrupted_writer_is_no_entry_and_is_removed(tmp_path):
    leftover = tmp_path / ".checkpoint-000000.safetensors.12ab34cd.safetensors"
    leftover.write_bytes(b"half")
    pool = CheckpointPool(tmp_path)
    assert pool.indices() == []
    pool.add(0, STATE)
    assert not leftover.exists() and pool.indices() == [0]


def test_initial_selects_the_first_and_latest_the_last_entry():
    assert [select("initial", n, 1) for n in range(5)] == [0] * 5
    assert [select("latest", n, 1) for n in range(5)] == [0, 1, 2, 3, 4]
    assert next(iter(SELECTIONS)) == "uniform"
    with pytest.raises(ValueError, match="Did you mean 'uniform'"):
        select("unifrom", 1, 1)


def test_uniform_selects_each_entry_equally_often_and_reproducibly():
    assert select("uniform", 0, 3) == 0
    for number in (1, 4, 9):
        drawn = [select("uniform", number, seed) for seed in range(4000)]
        assert drawn[:50] == [select("uniform", number, seed) for seed in range(50)]
        counts = Counter(drawn)
        assert set(counts) == set(range(number + 1))
        assert chisquare([counts[j] for j in range(number + 1)]).pvalue > 0.01

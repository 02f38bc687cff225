"""Claims about the cache of tensors: exact, durable, and harmless when a process dies or a disk fills."""

import errno
import os
import pickle
import signal
import time
import types

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from diffalign.data.storage import shard_file
from diffalign.data.storage.tensor_cache import TensorCache, content_key
from diffalign.errors import RunError

ENTRY = {"latent": torch.randn(2, 3, generator=torch.Generator().manual_seed(0)), "text": torch.arange(4)}


def shard_files(cache: TensorCache) -> list:
    return sorted(cache.folder.glob("*.safetensors"))


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool, torch.uint8]
)
def test_tensors_come_back_exactly(tmp_path, dtype):
    tensor = (torch.randn(3, 5, generator=torch.Generator().manual_seed(1)) * 3).to(dtype)
    TensorCache(tmp_path, "m").put_many({"k": {"a": tensor, "scalar": tensor[0, 0], "none": tensor[:0]}})
    tensors = TensorCache(tmp_path, "m").get("k")
    assert set(tensors) == {"a", "scalar", "none"}
    assert tensors["a"].dtype == dtype and torch.equal(tensors["a"], tensor)
    assert torch.equal(tensors["scalar"], tensor[0, 0]) and tensors["none"].shape == (0, 5)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.integers(), max_size=5))
def test_any_key_comes_back(tmp_path, keys):
    maker = content_key(*keys)
    cache = TensorCache(tmp_path, maker)
    entries = {key: {"x": torch.tensor([value % 1000])} for key, value in keys.items()}
    cache.put_many(entries)
    reopened = TensorCache(tmp_path, maker)
    assert set(reopened.keys()) == set(keys) and reopened.missing(keys) == []
    assert all(reopened.get(key)["x"].item() == value % 1000 for key, value in keys.items())


PARTS = st.lists(st.one_of(st.text(), st.binary(), st.integers(), st.booleans(), st.none()))


@given(PARTS, PARTS)
def test_content_keys_distinguish_contents_and_types(one, other):
    exact = [(type(part), part) for part in one] == [(type(part), part) for part in other]
    assert (content_key(*one) == content_key(*other)) == exact


def test_content_keys_do_not_change_between_versions():
    """Stored caches are found by these: a change here silently throws every user's cache away."""
    assert content_key("a red circle", 512, None) == "3428848ea6ba71becfac409b4972b62e"


def test_another_maker_is_another_cache(tmp_path):
    TensorCache(tmp_path, "vae 1").put_many({"k": ENTRY})
    other = TensorCache(tmp_path, "vae 2")
    assert "k" not in other and other.get("k") is None and other.missing(["k", "j", "k"]) == ["k", "j"]
    assert "k" in TensorCache(tmp_path, "vae 1")


def test_views_of_one_buffer_are_stored_apart(tmp_path):
    batch = torch.randn(4, 8)
    cache = TensorCache(tmp_path, "m")
    cache.put_many({str(n): {"x": batch[n], "t": batch.T[n]} for n in range(4)})
    assert torch.equal(cache.get("2")["x"], batch[2]) and torch.equal(cache.get("2")["t"], batch.T[2])
    assert sum(path.stat().st_size for path in shard_files(cache)) < 5000


def test_the_newest_entry_of_a_key_wins(tmp_path):
    cache = TensorCache(tmp_path, "m")
    for value in (1.0, 2.0):
        cache.put_many({"k": {"x": torch.tensor(value)}})
    assert cache.get("k")["x"] == 2.0 == TensorCache(tmp_path, "m").get("k")["x"]


def test_shards_of_other_processes_are_listed(tmp_path):
    reader, writer = TensorCache(tmp_path, "m"), TensorCache(tmp_path, "m")
    writer.put_many({"k": ENTRY})
    assert "k" not in reader
    assert reader.missing(["k"]) == [] and torch.equal(reader.get("k")["latent"], ENTRY["latent"])


def test_the_cache_travels_to_workers_as_its_folder(tmp_path):
    cache = TensorCache(tmp_path, "m")
    cache.put_many({"k": ENTRY})
    sent = pickle.dumps(cache)
    assert len(sent) < 1000 and torch.equal(pickle.loads(sent).get("k")["text"], ENTRY["text"])


def test_bad_entries_are_refused(tmp_path):
    cache = TensorCache(tmp_path, "m")
    with pytest.raises(ValueError, match="at least one tensor"):
        cache.put_many({"k": {}})
    with pytest.raises(ValueError, match="'::'"):
        cache.put_many({"k": {"a::b": torch.zeros(1)}})
    cache.put_many({})
    assert shard_files(cache) == []


def test_a_writer_collects_small_entries_and_keeps_them_when_the_work_fails(tmp_path):
    cache = TensorCache(tmp_path, "m")
    with pytest.raises(KeyError), cache.writer(shard_bytes=80) as writer:
        for n in range(5):
            writer.put(str(n), {"x": torch.full((10,), float(n))})
        raise KeyError
    assert len(shard_files(cache)) == 3
    assert all(cache.get(str(n))["x"][0] == n for n in range(5))
    with cache.writer(seconds=0.0) as writer:
        writer.put("late", ENTRY)
        assert "late" in cache


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_killed_writer_leaves_nothing_that_can_be_read(tmp_path):
    """The child is killed between writing and renaming."""
    child = os.fork()
    if not child:
        try:
            cache = TensorCache(tmp_path, "m")
            cache.put_many({"done": {"x": torch.ones(3)}})
            shard_file.os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
            cache.put_many({"half": {"x": torch.ones(3)}})
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    cache = TensorCache(tmp_path, "m")
    assert list(cache.keys()) == ["done"]
    (left,) = cache.folder.glob("*.part")
    os.utime(left, (time.time() - 2e5, time.time() - 2e5))
    TensorCache(tmp_path, "m")
    assert not left.exists()


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_a_truncated_shard_is_ignored_with_a_warning_and_can_be_written_again(tmp_path, keep):
    cache = TensorCache(tmp_path, "m")
    cache.put_many({"k": ENTRY})
    (shard,) = shard_files(cache)
    content = shard.read_bytes()
    shard.write_bytes(content[:keep])
    with pytest.warns(RuntimeWarning, match="damaged.*computed again"):
        reopened = TensorCache(tmp_path, "m")
    assert reopened.missing(["k"]) == ["k"]
    reopened.put_many({"k": ENTRY})
    assert torch.equal(TensorCache(tmp_path, "m").get("k")["latent"], ENTRY["latent"])


def test_a_flipped_bit_is_noticed_when_it_is_read(tmp_path):
    cache = TensorCache(tmp_path, "m")
    cache.put_many({"k": ENTRY, "other": ENTRY})
    (shard,) = shard_files(cache)
    content = bytearray(shard.read_bytes())
    content[-3] ^= 1
    shard.write_bytes(content)
    reopened = TensorCache(tmp_path, "m")
    with pytest.warns(RuntimeWarning, match="checksum"):
        damaged = [reopened.get("k"), reopened.get("other")]
    assert None in damaged
    assert reopened.missing(["k", "other"]) == ["k", "other"]


def test_a_foreign_file_in_the_folder_does_no_harm(tmp_path):
    cache = TensorCache(tmp_path, "m")
    save_file({"weight": torch.zeros(2)}, str(cache.folder / "model.safetensors"))
    reopened = TensorCache(tmp_path, "m")
    assert len(reopened) == 0 and reopened.missing(["k"]) == ["k"]


def test_a_full_disk_is_an_error_with_a_fix_and_leaves_no_partial_file(tmp_path, monkeypatch):
    cache = TensorCache(tmp_path, "m")
    cache.put_many({"before": ENTRY})
    usage = types.SimpleNamespace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shard_file.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(RunError, match="full.*another disk.*continues"):
            cache.put_many({"k": ENTRY})

    def no_space(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shard_file.os, "replace", no_space)
        with pytest.raises(RunError, match="full"):
            cache.put_many({"k": ENTRY})
    assert list(cache.folder.glob("*.part")) == []
    assert "k" not in cache and "before" in TensorCache(tmp_path, "m")


def test_a_folder_that_cannot_be_used_is_an_error_for_the_user(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be used"):
        TensorCache(tmp_path / "file", "m")


def test_many_shards_are_read_with_few_of_them_open(tmp_path, monkeypatch):
    from diffalign.data.storage import tensor_cache as module

    monkeypatch.setattr(module, "OPEN_SHARDS", 2)
    cache = TensorCache(tmp_path, "m")
    for n in range(6):
        cache.put_many({str(n): {"x": torch.tensor([n])}})
    held = [cache.get(str(n))["x"] for n in range(6)]
    assert len(cache._open_shards) == 2 and [x.item() for x in held] == list(range(6))

"""Kept: a handle on tensors in a cache, harmless when they are gone."""

import pickle

import pytest
import torch

from diffalign.data.media.decode import media_bytes, media_digest, media_name, open_image
from diffalign.data.records.pair import Pair
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import DataError


def entry(folder, value=1.0, maker="m", key="k"):
    cache = TensorCache(folder, maker)
    cache.put_many({key: {"latent": torch.full((2, 3), value)}})
    return CachedCandidate(str(folder), maker, key)


def test_a_handle_reads_the_stored_tensors(tmp_path):
    handle = entry(tmp_path)
    assert torch.equal(handle.read()["latent"], torch.ones(2, 3))
    assert torch.equal(pickle.loads(pickle.dumps(handle)).read()["latent"], torch.ones(2, 3))


def test_entries_that_are_stored_later_are_read(tmp_path):
    entry(tmp_path).read()
    assert torch.equal(entry(tmp_path, 2.0, key="later").read()["latent"], torch.full((2, 3), 2.0))


def test_missing_entries_are_errors_and_no_folder_is_created(tmp_path):
    entry(tmp_path)
    for kept in (CachedCandidate(str(tmp_path), "m", "other"), CachedCandidate(str(tmp_path / "nowhere"), "m", "k")):
        with pytest.raises(DataError, match="gone or damaged.*--resume"):
            kept.read()
    assert not (tmp_path / "nowhere").exists()


def test_a_deleted_shard_is_an_error_for_people(tmp_path):
    kept, other = entry(tmp_path), entry(tmp_path, key="two")
    kept.read()
    for shard in tmp_path.rglob("*.safetensors"):
        shard.unlink()
    with pytest.warns(RuntimeWarning), pytest.raises(DataError, match="gone"):
        other.read()


def test_digests_of_names_identify_them_without_reading(tmp_path):
    names = [
        CachedCandidate("f", "m", "k"),
        CachedCandidate("g", "m", "k"),
        CachedCandidate("f", "n", "k"),
        CachedCandidate("f", "m", "l"),
        CachedCandidate("fm", "", "k"),
    ]
    assert len({kept.digest() for kept in names}) == len(set(names)) == 5
    assert media_digest(names[0]) == names[0].digest() == CachedCandidate("f", "m", "k").digest()
    assert {names[0]: 1}[CachedCandidate("f", "m", "k")] == 1
    assert Pair("a", "p", "x", names[0]).rejected is names[0]


def test_a_handle_is_not_an_image():
    handle = CachedCandidate("folder", "m", "0123456789")
    assert media_name(handle) == "sample 01234567 in 'folder'"
    for read in (media_bytes, open_image):
        with pytest.raises(DataError, match="sample 01234567 in 'folder' is tensors"):
            read(handle)

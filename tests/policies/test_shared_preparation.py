"""Several processes prepare a run together: each computes a share, and the store holds what one process would store."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from diffalign.devices.processes import Processes
from diffalign.errors import UserError
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.policy import SupportsSharedPreparation, no_progress
from diffalign.training.recipe.model_kinds import open_model
from tests.policies.test_quantized_bases import MODELS, recipe_of

PLAN = [(index, visit) for visit in range(2) for index in range(5)]


def stored(folder):
    found = {}
    for path in folder.rglob("*.safetensors"):
        found |= {f"{path.parent.name}/{name}": value for name, value in load_file(path).items()}
    return found


class Together:
    """Processes that are threads: they wait at one barrier."""

    def __init__(self, barrier):
        self.wait_for_everyone = barrier.wait


def in_threads(jobs):
    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()


@pytest.mark.parametrize("medium", MODELS)
def test_two_processes_store_what_one_stores_and_none_does_the_work_of_the_other(tmp_path, medium, monkeypatch):
    pairs = MODELS[medium][1](tmp_path / "pairs", 5)
    settings = {"reference": "stored"} | ({} if medium == "text" else {"encode_batch": 2})
    encoded = Counter()
    posterior = FrozenComponents.posterior

    def count(self, pixels):
        encoded[threading.current_thread().name] += len(pixels)
        return posterior(self, pixels)

    monkeypatch.setattr(FrozenComponents, "posterior", count)

    def opened(name):
        return open_model(recipe_of(tmp_path, medium, cache=str(tmp_path / name), **settings).model)

    def prepare(name, count):
        together = Together(threading.Barrier(count))
        ranks = [Processes(rank, count, together) for rank in range(count)]
        policies = [opened(name) for _ in ranks]
        assert all(isinstance(policy, SupportsSharedPreparation) for policy in policies)
        both = list(zip(policies, ranks, strict=True))
        in_threads([partial(policy.prepare_share, pairs, rank, no_progress) for policy, rank in both])
        shares = list(encoded.values())
        encoded.clear()
        for policy in policies:
            policy.prepare(pairs, no_progress)
        assert not encoded  # everything was there
        in_threads([partial(p.prepare_reference_share, pairs, PLAN, 0, rank, batch=2) for p, rank in both])
        assert opened(name).prepare_reference(pairs, PLAN, 0, batch=2) == 0
        return shares, stored(tmp_path / name)

    one, expected = prepare("one", 1)
    shares, found = prepare("two", 2)
    assert found.keys() == expected.keys() and len(found) > 0
    assert all(torch.equal(found[name], expected[name]) for name in found)
    if medium != "text":
        # Frames of different clips go through the autoencoder together, so a share may have one more piece.
        assert len(shares) == 2 and max(shares) <= 0.6 * sum(one) and sum(shares) <= sum(one) + (medium == "video")


def test_an_error_of_a_process_is_its_own_and_blocks_keep_together_what_is_computed_together():
    def fail():
        raise UserError("no such image")

    with pytest.raises(UserError, match="no such image"):
        Processes().together(fail)
    assert Processes(1, 2).blocks(list(range(10)), 3) == [3, 4, 5, 9]
    assert Processes(0, 2).blocks(list(range(10)), 3) == [0, 1, 2, 6, 7, 8] and Processes().blocks([1, 2], 5) == [1, 2]

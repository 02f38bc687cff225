"""A tiny base model, and policies on it."""

import pytest

from diffalign.policies.load import AdapterConfig, ModelConfig, load_policy
from tests.tiny import tiny_sd


@pytest.fixture(scope="session")
def sd(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("sd") / "tiny-base")


@pytest.fixture
def make(sd, tmp_path):
    def build(path=sd, **settings):
        settings.setdefault("adapter", AdapterConfig(rank=4))
        return load_policy(ModelConfig(path=str(path), cache=tmp_path / "cache", **settings), "cpu")

    return build

"""What several rooms' tests build on."""

import pytest

from diffalign.policies.diffusion.load import AdapterConfig, ModelConfig, load_policy
from tests.tiny import tiny_pairs, tiny_sd


@pytest.fixture(scope="session")
def sd(tmp_path_factory):
    """A Stable Diffusion pipeline of a few thousand parameters, made once; a room may have one of its own."""
    return tiny_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Pairs of tiny images, made once."""
    return tiny_pairs(tmp_path_factory.mktemp("images"))


@pytest.fixture
def make(sd, tmp_path):
    """Builds a policy on the CPU, of the room's own ``sd`` by default; keywords are those of ModelConfig."""

    def build(path=sd, **settings):
        settings.setdefault("adapter", AdapterConfig(rank=4))
        return load_policy(ModelConfig(path=str(path), cache=tmp_path / "cache", **settings), "cpu")

    return build

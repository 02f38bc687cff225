"""What several rooms' tests build on."""

import pytest

from diffalign.policies.load import AdapterConfig, ModelConfig, load_policy


@pytest.fixture
def make(sd, tmp_path):
    """Builds a policy on the CPU, of the room's own ``sd`` by default; keywords are those of ModelConfig."""

    def build(path=sd, **settings):
        settings.setdefault("adapter", AdapterConfig(rank=4))
        return load_policy(ModelConfig(path=str(path), cache=tmp_path / "cache", **settings), "cpu")

    return build

"""A Stable Diffusion pipeline of a few thousand parameters, and pairs for it, made once for this room."""

import pytest

from tests.tiny import tiny_pairs, tiny_sd


@pytest.fixture(scope="package")
def model(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="package")
def pairs(tmp_path_factory):
    return tiny_pairs(tmp_path_factory.mktemp("pictures"))

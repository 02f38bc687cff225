"""A tiny base model, and policies on it."""

import pytest

from tests.tiny import tiny_sd


@pytest.fixture(scope="session")
def sd(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("sd") / "tiny-base")

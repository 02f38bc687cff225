"""What this room calls a model: the tiny pipeline that several rooms share."""

import pytest


@pytest.fixture(scope="session")
def model(sd):
    return sd

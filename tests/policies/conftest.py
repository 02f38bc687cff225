"""Tiny pipelines and pairs, made once."""

import pytest
import torch

from diffalign.latents.draws import Draw
from tests.tiny import tiny_pairs, tiny_sd, tiny_sdxl


@pytest.fixture(scope="session")
def sd(tmp_path_factory):
    return tiny_sd(tmp_path_factory.mktemp("sd"))


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory):
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    return tiny_pairs(tmp_path_factory.mktemp("pictures"))


def draw_for(pairs, visit=0, seed=0):
    return Draw(seed, tuple(pair.id for pair in pairs), (visit,) * len(pairs))


def shake(policy, scale=0.02, seed=1):
    """Moves the trainable weights a little, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return policy


def margin(policy, encoded, draw):
    chosen, rejected = (scores.logps for scores in policy.score(encoded, draw).candidates)
    ref_chosen, ref_rejected = (scores.logps for scores in policy.reference(encoded, draw).candidates)
    return (chosen - rejected) - (ref_chosen - ref_rejected)

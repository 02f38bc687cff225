"""A second tiny pipeline, made once, the policies of the battery, and helpers for policies."""

from contextlib import contextmanager

import pytest
import torch

from diffalign.randomness import Draw
from tests.policies.cases import CASES, Bench
from tests.tiny import tiny_sdxl


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory):
    return tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="session")
def benches():
    """The battery's policies that have been opened, by case."""
    return {}


@pytest.fixture(params=CASES)
def bench(request, benches, tmp_path_factory):
    """A case of the battery, with a policy that is opened once and shared."""
    if request.param not in benches:
        benches[request.param] = Bench(CASES[request.param](tmp_path_factory.mktemp("case")))
    return benches[request.param]


@pytest.fixture
def policy(bench):
    """The shared policy, at step 0 before each law and after it."""
    yield bench.policy
    bench.policy.load_state(bench.state)
    for parameter in bench.policy.trainable().values():
        parameter.grad = None


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
    chosen, rejected = (scores.logps for scores in policy.logps(encoded, draw).candidates)
    ref_chosen, ref_rejected = (scores.logps for scores in policy.reference_logps(encoded, draw).candidates)
    return (chosen - rejected) - (ref_chosen - ref_rejected)


def inputs_of(policy, encoded, draw):
    """Returns the inputs of policy and reference: latents, levels, targets."""
    return policy._policy_and_reference.inputs(encoded, draw)


def steps_to(levels, steps=10):
    """Returns the number of steps of exact inversions to these levels, by the formula."""
    return [max(1, -(-steps * (level + 1) // 1000)) for level in levels]


def levels_of(policy, encoded, draw):
    """Returns the drawn level of each pair."""
    return inputs_of(policy, encoded, draw).t[: len(encoded.keys)].tolist()


@contextmanager
def spied(module):
    """Collects ``(x, t)`` of every call of a network."""
    calls = []
    hook = module.register_forward_pre_hook(lambda _, args: calls.append((args[0].clone(), args[1].tolist())))
    try:
        yield calls
    finally:
        hook.remove()

"""Optimizers that keep their state in 8 bits: their size, where they run, and resuming from their state."""

import sys

import pytest
import torch
from torch import nn

from diffalign.errors import ConfigError
from diffalign.training.optim.optimizer import PAGED, check_optimizer, make_optimizer, state_bytes
from diffalign.training.optim.optimizer_state import flatten, restore
from diffalign.training.recipe.schema import Train
from diffalign.training.setup import assemble_run
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

CPU = torch.device("cpu")
SHAPES = [(80, 60), (70, 60), (60, 60), (16, 16, 5, 5), (50,)]


def train(name):
    return Train(steps=1, learning_rate=0.01, optimizer=name)


def made(name="adamw8bit", seed=0):
    draw = torch.Generator().manual_seed(seed)
    parameters = [nn.Parameter(torch.randn(shape, generator=draw)) for shape in SHAPES]
    return parameters, make_optimizer(train(name), parameters)


def step(parameters, optimizer, seed):
    draw = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=draw)
    optimizer.step()


def named(parameters):
    return {str(number): parameter for number, parameter in enumerate(parameters)}


def test_the_size_counts_scales_and_small_tensors_in_float32():
    parameters, optimizer = made()
    step(parameters, optimizer, 1)
    tensors = [
        value
        for state in optimizer.state.values()
        for name, value in state.items()
        if torch.is_tensor(value) and "qmap" not in name  # a table of 256 numbers for all tensors
    ]
    assert sum(value.numel() * value.element_size() for value in tensors) == state_bytes("adamw8bit", parameters)


def test_of_paged_moments_only_the_scales_stay_on_the_device():
    small, large = nn.Parameter(torch.zeros(300, 300)), nn.Parameter(torch.zeros(PAGED))
    assert state_bytes("paged_adamw8bit", [small]) == state_bytes("adamw8bit", [small])
    assert state_bytes("paged_adamw8bit", [large]) == state_bytes("adamw8bit", [large]) - 2 * PAGED


def test_a_restored_state_has_its_types_and_steps_to_the_same_weights():
    parameters, optimizer = made()
    for seed in range(3):
        step(parameters, optimizer, seed)
    tensors, facts = flatten(optimizer, named(parameters))
    twins, other = made()
    with torch.no_grad():
        for twin, parameter in zip(twins, parameters, strict=True):
            twin.copy_(parameter)
    restore(other, named(twins), tensors, facts)
    for twin, parameter in zip(twins, parameters, strict=True):
        kept, found = optimizer.state[parameter], other.state[twin]
        assert {key: getattr(kept[key], "dtype", kept[key]) for key in kept} == {
            key: getattr(found[key], "dtype", found[key]) for key in kept
        }
    assert {value["state1"].dtype for value in other.state.values()} == {torch.uint8, torch.float32}
    for one, it in ((parameters, optimizer), (twins, other)):
        step(one, it, 9)
    assert all(torch.equal(twin, parameter) for twin, parameter in zip(twins, parameters, strict=True))


def test_paged_moments_are_restored_into_paged_tensors_and_a_rollback_makes_no_more_of_them(monkeypatch):
    from bitsandbytes.optim import PagedAdamW8bit

    made_buffers = []

    def buffer(self, parameter, dtype=torch.float32):
        made_buffers.append(torch.zeros(parameter.shape, dtype=dtype))
        return made_buffers[-1]

    monkeypatch.setattr(PagedAdamW8bit, "get_state_buffer", buffer)
    parameters, optimizer = made("paged_adamw8bit")
    step(parameters, optimizer, 1)
    tensors, facts = flatten(optimizer, named(parameters))
    step(parameters, optimizer, 2)
    count = len(made_buffers)
    assert count == 2 * len(SHAPES)
    restore(optimizer, named(parameters), tensors, facts)
    assert len(made_buffers) == count
    twins, other = made("paged_adamw8bit")
    restore(other, named(twins), tensors, facts)
    assert len(made_buffers) == 2 * count
    for states in (optimizer.state.values(), other.state.values()):
        for number, state in enumerate(states):
            assert any(state["state1"] is made_buffer for made_buffer in made_buffers)
            assert torch.equal(state["state1"], tensors[f"{number}\x1fstate1"])


def refused(name, tmp_path, monkeypatch):
    """Returns the message with which a run ends, whose model may not be opened."""

    def open_policy(*_):
        raise AssertionError("the model was opened")

    monkeypatch.setattr(assemble_run, "open_policy", open_policy)
    with pytest.raises(ConfigError) as error:
        recipe = toy_recipe(tmp_path / "run", train__optimizer=name)
        assemble_run.open_run(recipe, ToyPolicy(), toy_pairs(), resume=False, check_only=False)
    return str(error.value)


def test_paging_is_refused_off_cuda_before_the_model_is_opened(tmp_path, monkeypatch):
    message = refused("paged_adamw8bit", tmp_path, monkeypatch)
    assert "this run is on cpu" in message and "Type: --set train.optimizer=adamw8bit" in message


def test_a_missing_library_is_found_before_the_model_is_opened(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    message = refused("adamw8bit", tmp_path, monkeypatch)
    assert "pip install 'diffalign[lowbit]'   or: --set train.optimizer=adamw" in message


def test_a_device_without_kernels_is_refused_in_a_sentence(monkeypatch):
    from bitsandbytes.optim import AdamW8bit

    check_optimizer(train("adamw8bit"), CPU)

    def no_kernel(self):
        raise NotImplementedError("no kernel\nfor this device")

    monkeypatch.setattr(AdamW8bit, "step", no_kernel)
    with pytest.raises(ConfigError, match=r"does not run on cpu .*: no kernel\\nfor this device\. Type: pip install"):
        check_optimizer(train("adamw8bit"), CPU)

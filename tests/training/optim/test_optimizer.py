"""Learning-rate schedules and optimizers."""

import pytest
import torch
from torch import nn

from diffalign.training.optim.optimizer import OPTIMIZERS, learning_rate, make_optimizer, state_bytes
from diffalign.training.recipe.schema import Train


def rates(**settings):
    train = Train(steps=10, learning_rate=2.0, **settings)
    return [learning_rate(train, step) for step in range(10)]


def test_schedules():
    assert rates() == [2.0] * 10
    assert rates(schedule="constant_with_warmup", warmup_steps=4)[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rates(schedule="linear") == pytest.approx([2.0 - 0.2 * k for k in range(10)])
    assert rates(schedule="cosine", warmup_steps=2)[2] == 2.0
    assert rates(schedule="cosine")[5] == pytest.approx(1.0)


def test_the_published_rate_is_the_base_times_the_effective_batch():
    assert learning_rate(Train(steps=1, learning_rate=1e-8, scale_lr=True, batch_size=2048), 0) == pytest.approx(
        2.048e-5
    )


@pytest.mark.parametrize("name", ["adamw", "adafactor", "sgd"])
def test_each_optimizer_steps_downhill(name):
    weight = nn.Parameter(torch.full((4, 3), 2.0))
    optimizer = make_optimizer(Train(steps=1, learning_rate=0.1, optimizer=name), [weight])
    for _ in range(5):
        optimizer.zero_grad()
        weight.square().sum().backward()
        optimizer.step()
    assert weight.square().sum() < 48


def test_every_optimizer_of_the_recipe_is_in_the_table():
    assert set(Train.model_fields["optimizer"].annotation.__args__) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "sgd"])
def test_the_size_of_a_state_is_known_before_the_first_step(name):
    parameters = [nn.Parameter(torch.randn(shape)) for shape in [(40, 30), (8, 6, 3, 3), (50,)]]
    optimizer = make_optimizer(Train(steps=1, learning_rate=0.1, optimizer=name), parameters)
    sum(parameter.square().sum() for parameter in parameters).backward()
    optimizer.step()
    tensors = [value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value)]
    kept = sum(value.numel() * value.element_size() for value in tensors if value.ndim)
    assert kept == state_bytes(name, parameters)


def test_adafactor_takes_the_published_settings_and_the_rate_of_the_recipe():
    """Shazeer and Stern 2018 (arXiv 1804.04235), algorithm 4, with the settings of the released scripts: a given rate,
    not scaled by the parameter's size, update clipping at 1, decoupled weight decay."""
    rate, decay = 0.01, 0.01
    weight = nn.Parameter(torch.randn(5, 4, dtype=torch.float64).float())
    optimizer = make_optimizer(Train(steps=1, learning_rate=rate, optimizer="adafactor", weight_decay=decay), [weight])
    expected, row, column = weight.detach().double(), torch.zeros(5).double(), torch.zeros(4).double()
    for step in range(1, 4):
        gradient = torch.randn(5, 4).double()
        weight.grad = gradient.float()
        optimizer.step()
        rho = 1.0 - step**-0.8
        squares = gradient.square() + 1e-30
        row, column = rho * row + (1 - rho) * squares.mean(1), rho * column + (1 - rho) * squares.mean(0)
        update = gradient / (row[:, None] * column[None] / row.mean()).sqrt()
        update = update / max(1.0, update.square().mean().sqrt().item() / 1.0)
        expected = expected - rate * decay * expected - rate * update
        assert torch.allclose(weight.detach().double(), expected, atol=1e-6)

"""Learning-rate schedules and optimizers."""

import pytest
import torch
from torch import nn

from diffalign.training.optim.optimizer import OPTIMIZERS, learning_rate, make_optimizer
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

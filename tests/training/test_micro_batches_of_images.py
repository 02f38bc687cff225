"""A batch of images gives the loss and the gradient of its pairs one by one, up to the rounding of float32.

A margin is beta times a difference of errors, so beta enlarges the rounding of the errors: the same weights are
compared here at several betas, with the learning rate scaled so that the first step goes equally far.
"""

import json

import pytest

from diffalign.training.loop import train
from tests.training.test_image import recipe


def curve(model, pairs, folder, name, size, beta, adapter):
    settings = {"steps": 2, "batch_size": 8, "micro_batch_size": size, "optimizer": "sgd", "schedule": "constant"}
    settings |= {"learning_rate": 0.06 / beta, "max_grad_norm": None}
    changes = {"policy": {"adapter": adapter}, "train": settings, "loss": {"beta": beta}}
    train(recipe(model, folder, name, **changes), pairs=pairs)
    lines = [json.loads(line) for line in (folder / name / "metrics.jsonl").read_text().splitlines()]
    return [(line["loss"], line["grad_norm"]) for line in lines]


@pytest.mark.parametrize(("adapter", "beta"), [({"rank": 4}, 5000.0), (None, 10.0)])
def test_eight_images_at_once_equal_eight_one_by_one(model, pairs, tmp_path, adapter, beta):
    whole = curve(model, pairs, tmp_path, "whole", 8, beta, adapter)
    pieces = curve(model, pairs, tmp_path, "pieces", 1, beta, adapter)
    assert whole[0] == pytest.approx(pieces[0], rel=1e-5)  # no margin yet: nothing is enlarged
    if beta == 10.0:
        assert whole[1] == pytest.approx(pieces[1], rel=1e-5)
    assert whole[1][0] == pytest.approx(pieces[1][0], rel=0, abs=beta * 2**-23)
    assert whole[1][0] != whole[0][0]

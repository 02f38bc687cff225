"""Several draws per pair: a denoiser's scores are means over them, so that a square sees less of one draw's noise."""

import json

import pytest
import torch

from diffalign.training.step.batch_order import draws_of_visits
from tests.training.tiny_runs import losses, run, state

SQUARED = {"name": "ipo", "beta": 500.0, "relative": True}


def test_no_two_visits_share_a_draw():
    visits = [-3, -2, -1, 0, 1, 2]
    for draws in (1, 2, 3):
        met = [v for row in draws_of_visits(visits, draws) for v in row]
        assert len(set(met)) == len(visits) * draws
        assert all(
            (v < 0) == (w < 0) for row in draws_of_visits(visits, draws) for v, w in zip(row, visits, strict=True)
        )
    assert draws_of_visits(visits, 1) == [tuple(visits)]


def test_squared_losses_of_images_take_two_draws_and_others_one(model, pairs, tmp_path):
    known = {}
    for name, changes in {
        "ipo": {"loss": SQUARED},
        "two": {"loss": SQUARED, "train": {"draws_per_pair": 2}},
        "one": {"loss": SQUARED, "train": {"draws_per_pair": 1}},
        "logistic": {},
        "logistic one": {"train": {"draws_per_pair": 1}},
    }.items():
        known[name] = state(run(model, tmp_path / name, pairs, **changes))
    same = lambda a, b: all(torch.equal(value, known[b][key]) for key, value in known[a].items())
    assert same("ipo", "two") and not same("ipo", "one") and same("logistic", "logistic one")


def test_a_stored_reference_has_every_draw(model, pairs, tmp_path):
    train = {"draws_per_pair": 2, "micro_batch_size": 1}
    for reference in ("auto", "stored"):
        run(model, tmp_path / reference, pairs, loss=SQUARED, train=train, model={"reference": reference})
    assert losses(tmp_path / "stored") == pytest.approx(losses(tmp_path / "auto"), rel=1e-3)
    assert json.loads((tmp_path / "auto" / "metrics.jsonl").read_text().splitlines()[0])["loss"] == pytest.approx(
        0.25, abs=1e-4
    )


def test_micro_batches_with_several_draws_make_the_same_step(model, pairs, tmp_path):
    train = {"draws_per_pair": 3}
    whole = state(run(model, tmp_path / "whole", pairs, train=train))
    pieces = state(run(model, tmp_path / "pieces", pairs, train={**train, "micro_batch_size": 1}))
    for name, value in whole.items():
        torch.testing.assert_close(value, pieces[name], rtol=1e-2, atol=1e-4)

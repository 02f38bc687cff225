"""Losses that read the policy as it was: when it is looked back to, and that a killed run looks back to the same."""

import pytest
import torch

from diffalign.training.loop import train
from tests.tiny_text import text_pairs
from tests.training.step.test_sums_of_losses import equal, llm, recipe, records  # noqa: F401

INPO = {"name": "inpo", "beta": 0.5, "tau_over_eta": 0.25, "relative": True}
IPO = {"name": "ipo", "beta": 0.5, "relative": True, "per_token": False}


def run(model, folder, loss, steps=4, resume=False, **train_):
    wanted = recipe(model, folder, loss=loss, train={"steps": steps, **train_}, checkpoint={"every": 1})
    return train(wanted, pairs=text_pairs(4), resume=resume).policy.state()


def test_in_the_first_round_the_policy_as_it_was_is_the_reference(llm, tmp_path):  # noqa: F811
    inpo, ipo = run(llm, tmp_path / "inpo", INPO), run(llm, tmp_path / "ipo", IPO)
    for name, value in inpo.items():
        torch.testing.assert_close(value, ipo[name], rtol=1e-4, atol=1e-6)


def test_the_previous_policy_of_a_round_is_that_of_its_beginning(llm, tmp_path):  # noqa: F811
    rounds = run(llm, tmp_path / "rounds", INPO, previous_every=2)
    one = run(llm, tmp_path / "one", INPO)
    assert not equal(rounds, one)
    assert records(tmp_path / "rounds")[1]["loss"] == records(tmp_path / "one")[1]["loss"]
    assert records(tmp_path / "rounds")[2]["loss"] != records(tmp_path / "one")[2]["loss"]


@pytest.mark.parametrize("stop", [2, 3])
def test_a_resumed_run_has_the_same_previous_policy(llm, tmp_path, stop):  # noqa: F811
    straight = run(llm, tmp_path / "straight", INPO, previous_every=2)
    run(llm, tmp_path / "parts", INPO, steps=stop, previous_every=2)
    assert equal(run(llm, tmp_path / "parts", INPO, resume=True, previous_every=2), straight)

"""Group-robust weights: the worst group counts most, whatever the pieces of a batch."""

import math
from dataclasses import replace

import pytest
import torch

from diffalign.training.loop import train
from diffalign.training.step.group_weights import robust_weights
from tests.tiny_text import text_pairs
from tests.training.step.test_sums_of_losses import equal, llm, recipe, records  # noqa: F401

LOGITS = {"one": [0.3, 0.8], "two": [-0.2, 0.1]}
LOSSES = torch.tensor([math.log1p(math.exp(-z)) for group in LOGITS.values() for z in group], dtype=torch.float64)
GROUPS = ["one", "one", "two", "two"]


def weighted(tau):
    factors = robust_weights(LOSSES, GROUPS, tau)
    return sum(factors[g] * loss for g, loss in zip(GROUPS, LOSSES.tolist(), strict=True)) / 4


def test_the_ends_of_tau_are_the_worst_group_and_the_mean_of_the_groups():
    # Worked by hand: group means 0.462728 and 0.721268 of the logistic loss.
    means = LOSSES.view(2, 2).mean(1)
    assert means.tolist() == pytest.approx([0.462728, 0.721268], abs=5e-7)
    assert weighted(1e-4) == pytest.approx(0.721268, abs=5e-7)
    assert weighted(1e6) == pytest.approx(0.591998, abs=5e-7)
    q = torch.softmax(means / 0.1, 0)
    assert weighted(0.1) == pytest.approx(float(q @ means), rel=1e-12)


def test_one_group_has_weight_one_and_unequal_groups_are_weighed_by_pair():
    assert robust_weights(LOSSES, ["only"] * 4, 0.1) == {"only": pytest.approx(1.0)}
    factors = robust_weights(torch.ones(4), ["a", "b", "b", "b"], 0.5)
    assert factors == {"a": pytest.approx(2.0), "b": pytest.approx(2 / 3)}  # each group half of the loss


def test_a_batch_has_the_same_weights_whole_and_in_pieces(llm, tmp_path):  # noqa: F811
    pairs = [replace(pair, group="ab"[k % 2]) for k, pair in enumerate(text_pairs(4))]
    settings = {
        "whole": {"group_robust": 0.01},
        "pieces": {"group_robust": 0.01, "micro_batch_size": 1},
        "plain": {},
        "warm": {"group_robust": 1e9},
    }
    found = {
        name: train(recipe(llm, tmp_path / name, train=given), pairs=pairs).policy.state()
        for name, given in settings.items()
    }
    for name, value in found["whole"].items():
        torch.testing.assert_close(value, found["pieces"][name], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(found["warm"][name], found["plain"][name], rtol=1e-3, atol=1e-5)
    assert not equal(found["whole"], found["plain"])
    whole, plain = records(tmp_path / "whole"), records(tmp_path / "plain")
    assert whole[0]["loss"] == pytest.approx(plain[0]["loss"], rel=1e-5)  # all groups equal before the first step

"""Comparisons: a probability from two scores, the same for scorers of the package, of plugins and with an own rule."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import diffalign
from diffalign.errors import ConfigError, UserError
from diffalign.scorers import SCORERS, ComparesByScore, ScorerEntry, SupportsCompare, compare, register_scorer
from diffalign.scorers.compare import probability_first_wins

FLOATS = st.floats(width=32, allow_nan=False)


class Words:
    """The number of words, as a plugin writes a scorer: without a base class and without optional fields."""

    name, unit, range, license, paper, medium, weights = "words", "words", (0.0, 1e9), "-", "-", "text", ""

    def score(self, prompts, samples):
        return torch.tensor([float(len(sample.split())) for sample in samples])


class Slots:
    __slots__ = ()
    score = Words.score


class Toss(Words):
    """A scorer that decides itself."""

    def compare(self, prompts, a, b):
        return torch.full((len(prompts),), 0.25)


@pytest.fixture
def plugin():
    def add(scorer):
        register_scorer("mine", ScorerEntry(lambda argument, device: scorer, "", "", medium="text"), replace=True)
        return diffalign.load_scorer("mine")

    yield add
    SCORERS.pop("mine", None)


@given(st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=20), st.floats(1e-3, 1e3))
def test_both_orders_sum_to_exactly_one_and_the_higher_score_wins(pairs, scale):
    first, second = torch.tensor(pairs, dtype=torch.float32).T
    one, other = probability_first_wins(first, second, scale), probability_first_wins(second, first, scale)
    assert one.dtype == torch.float32 and torch.equal(one + other, torch.ones_like(one))
    assert torch.equal(one >= 0.5, first >= second) or bool(((first - second).abs() * scale < 1e-7).any())


def test_both_orders_of_a_hundred_thousand_ordinary_scores_sum_to_exactly_one():
    first, second = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0)) * 3
    one, other = probability_first_wins(first, second), probability_first_wins(second, first)
    assert torch.equal(one.double() + other.double(), torch.ones(100_000, dtype=torch.float64))  # without rounding


def test_equal_scores_are_even_also_where_they_are_infinite():
    scores = torch.tensor([0.0, 3.0, float("inf"), float("-inf")])
    assert probability_first_wins(scores, scores).tolist() == [0.5] * 4


def test_the_probability_is_the_softmax_of_two_logits():
    a, b = torch.tensor([21.3, 19.0]), torch.tensor([20.1, 22.5])
    torch.testing.assert_close(probability_first_wins(a, b), torch.stack([a, b]).softmax(0)[0])
    torch.testing.assert_close(probability_first_wins(a / 100, b / 100, 100.0), torch.stack([a, b]).softmax(0)[0])


def test_a_plugin_without_base_class_compares_when_loaded_and_has_no_preprocessing(plugin):
    scorer = plugin(Words())
    assert isinstance(scorer, SupportsCompare) and scorer.preprocessing == ""
    expected = torch.tensor([1.0, 0.0]).softmax(0)[0].item()
    assert scorer.compare(["x"], ["a b"], ["a"]).item() == pytest.approx(expected)
    assert torch.equal(compare(scorer, ["x"], ["a b"], ["a"]), scorer.compare(["x"], ["a b"], ["a"]))
    assert torch.equal(compare(Words(), ["x"], ["a b"], ["a"]), scorer.compare(["x"], ["a b"], ["a"]))
    assert copy.deepcopy(scorer).compare(["x"], ["a b"], ["a"]).item() == pytest.approx(expected)


def test_a_scorer_with_an_own_comparison_decides_itself(plugin):
    assert compare(Toss(), ["x"], ["a b"], ["a"]).item() == 0.25
    assert plugin(Toss()).compare(["x"], ["a b"], ["a"]).item() == 0.25


def test_a_scale_of_logits_is_used(plugin):
    class Scaled(ComparesByScore, Words):
        logits_per_unit = 3.0

    expected = torch.sigmoid(torch.tensor(3.0)).item()
    assert plugin(Scaled()).compare(["x"], ["a b"], ["a"]).item() == pytest.approx(expected)


def test_all_samples_are_scored_in_one_pass():
    class Counting(Words):
        calls = 0

        def score(self, prompts, samples):
            self.calls += 1
            return super().score(prompts, samples)

    scorer = Counting()
    compare(scorer, ["x"] * 3, np.array(["a", "b b", "c"]), ["a", "b", "c c"])
    assert scorer.calls == 1


def test_a_plugin_that_admits_no_fields_is_named_with_the_way_out(plugin):
    with pytest.raises(ConfigError, match="ComparesByScore"):
        plugin(Slots())


@pytest.mark.parametrize("a, b", [(["a"], ["a", "b"]), (["a", "b"], ["a"])])
def test_sides_of_different_lengths_are_refused(a, b):
    with pytest.raises(UserError, match="one prompt for each sample"):
        compare(Words(), ["x", "y"], a, b)

"""The bootstrap over prompts covers at its rate where prompts differ, and so does that of a mean difference."""

import math

import numpy as np
import pytest

from diffalign.evaluation.stats.prompt_groups import number_prompts, prompt_means
from diffalign.evaluation.stats.rates import bootstrap
from diffalign.evaluation.stats.rates.bootstrap import bootstrap_over_prompts
from diffalign.evaluation.stats.rates.mean_difference import mean_difference


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_it_covers_at_its_rate(level):
    rng, trials = np.random.default_rng(0), 600
    chances = rng.beta(3, 2, (trials, 40, 1))  # by prompt, mean 0.6
    sums = (rng.random((trials, 40, 4)) < chances).sum(2)
    sizes = np.full(40, 4)
    bounds = [bootstrap_over_prompts(row, sizes, seed=k, resamples=400, level=level) for k, row in enumerate(sums)]
    covered = np.mean([low <= 0.6 <= high for low, high in bounds])
    assert covered == pytest.approx(level, abs=0.02 + 2.6 * math.sqrt(level * (1 - level) / trials))


def test_it_is_that_of_the_normal_approximation_for_many_prompts():
    values = np.random.default_rng(1).normal(2.0, 1.0, 4000)
    low, high = bootstrap_over_prompts(values, np.ones(4000))
    half = 1.96 * values.std() / math.sqrt(4000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_blocks_of_draws_change_nothing(monkeypatch):
    values, sizes = np.random.default_rng(4).normal(size=50), np.full(50, 2)
    whole = bootstrap_over_prompts(values, sizes)
    monkeypatch.setattr(bootstrap, "BLOCK", 333)
    assert bootstrap_over_prompts(values, sizes) == pytest.approx(whole, rel=1e-12)


def test_a_mean_difference_has_the_unit_of_the_scores_and_an_interval_over_prompts():
    first, second = np.array([1.0, 2.0, 3.0, 5.0]), np.array([0.0, 1.0, 1.0, math.nan])
    result = mean_difference(first, second)
    assert (result.value, result.n) == (pytest.approx(4 / 3), 3) and result.low <= 4 / 3 <= result.high
    scaled = mean_difference(100 * first, 100 * second)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((400 / 3, 100 * result.low, 100 * result.high))


def test_copies_of_samples_make_no_interval_narrower():
    gaps = np.random.default_rng(2).normal(0.2, 1, 30)
    once = mean_difference(gaps, np.zeros(30))
    often = mean_difference(np.repeat(gaps, 9), np.zeros(270), np.repeat(np.arange(30), 9))
    assert (often.low, often.high) == pytest.approx((once.low, once.high)) and often.n == 270


def test_one_prompt_or_no_score_has_no_interval():
    assert math.isnan(mean_difference([2.0, 3.0], [1.0, 1.0], ["p", "p"]).low)
    nothing = mean_difference([math.nan], [1.0])
    assert nothing.n == 0 and math.isnan(nothing.value)


def test_prompts_are_numbered_in_order_and_averaged_over_finite_values():
    assert number_prompts(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]
    assert prompt_means([1.0, 5.0, 3.0, math.nan], ["b", "a", "b", "c"]).tolist() == [2.0, 5.0]
    assert prompt_means([1.0, math.inf, 3.0]).tolist() == [1.0, 3.0]

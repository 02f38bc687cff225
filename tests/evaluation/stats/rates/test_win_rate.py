"""Win rates, intervals and sign tests against scipy, closed forms and simulation."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from diffalign.errors import UserError
from diffalign.evaluation.stats.rates.share import share
from diffalign.evaluation.stats.rates.win_rate import win_rate
from diffalign.evaluation.stats.significance.sign_test import sign_test


@pytest.mark.parametrize("hits, n", [(0, 5), (5, 5), (3, 10), (61, 100), (1, 1)])
def test_share_equals_scipys_wilson_interval(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    result = share(hits, n)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_share_of_nothing_is_nan():
    assert math.isnan(share(0, 0).rate) and math.isnan(share(0, 0).low)


def test_wins_losses_and_ties_are_counted_and_a_tie_is_half():
    result = win_rate([1, 2, 3, 4], [0, 2, 5, 1])
    assert (result.wins, result.losses, result.ties, result.rate) == (2, 1, 1, 0.625)
    assert result.interval == "Wilson" and result.low < result.rate < result.high
    assert result.comparisons == 4 == result.prompts


def test_swapping_the_sides_mirrors_rate_and_interval():
    rng = np.random.default_rng(0)
    a, b, prompts = rng.normal(0.3, 1, 60), rng.normal(0, 1, 60), np.repeat(np.arange(20), 3)
    one, other = win_rate(a, b, prompts), win_rate(b, a, prompts)
    assert one.rate == pytest.approx(1 - other.rate)
    assert one.p_value == pytest.approx(other.p_value)
    assert one.low == pytest.approx(1 - other.high, abs=0.02)


def test_equal_scores_are_no_evidence():
    result = win_rate([1.0] * 9, [1.0] * 9)
    assert result.rate == 0.5 and result.p_value == 1 and result.low < 0.5 < result.high


def test_sign_test_is_scipys():
    assert sign_test(9, 1) == pytest.approx(binomtest(9, 10).pvalue) and sign_test(0, 0) == 1


def test_seeds_of_one_prompt_are_not_counted_as_independent():
    """If all seeds of a prompt agree, 8 seeds have no more information than 1."""
    outcome = np.array([1, 1, 1, 0, 1, 0, 1, 1, 0, 1], float)
    once = win_rate(outcome, 1 - outcome)
    many = win_rate(np.repeat(outcome, 8), 1 - np.repeat(outcome, 8), np.repeat(np.arange(10), 8))
    naive = share(float(outcome.sum()) * 8, 80)
    assert many.interval == "bootstrap over prompts" and many.p_value == once.p_value
    assert many.high - many.low > 2 * (naive.high - naive.low)


def test_unanimous_prompts_still_have_an_interval():
    result = win_rate(np.ones(12), np.zeros(12), np.repeat(np.arange(4), 3))
    assert (
        result.rate == 1 and result.low == pytest.approx(share(4, 4).low) and result.interval == "Wilson over prompts"
    )


def test_the_bootstrap_interval_has_its_nominal_coverage():
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(60):
        chance = rng.beta(3, 2, 40)  # mean 0.6
        wins = (rng.random((40, 4)) < chance[:, None]).astype(float).reshape(-1)
        result = win_rate(wins, 1 - wins, np.repeat(np.arange(40), 4), seed=trial)
        covered += result.low <= 0.6 <= result.high
    assert covered >= 51


def test_scores_that_are_not_finite_are_left_out_and_counted():
    result = win_rate([1, math.nan, 3], [0, 1, math.inf])
    assert (result.wins, result.excluded, result.comparisons) == (1, 2, 1)
    with pytest.raises(UserError, match="finite"):
        win_rate([math.nan], [1])


def test_unequal_lengths_are_refused():
    with pytest.raises(UserError, match="same prompts and seeds"):
        win_rate([1, 2], [1])

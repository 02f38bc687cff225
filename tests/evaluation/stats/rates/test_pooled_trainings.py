"""Pooled trainings: a worked table, and coverage where seeds matter, where they do not, and where prompts matter."""

import math

import numpy as np
import pytest
from scipy.stats import t, ttest_1samp

from diffalign.errors import UserError
from diffalign.evaluation.stats.rates.pooled_trainings import pool_trainings
from diffalign.evaluation.stats.rates.share import share


def test_a_worked_table():
    # rows 1 and 0, columns 0.75 and 0.25, mean 0.5, rest +-0.25: MS_s = 1, MS_p = MS_e = 0.25
    result = pool_trainings(np.array([[1.0, 1.0], [0.5, -0.5]]), limits=(-math.inf, math.inf))
    variance = (1.0 + 0.25 - 0.25) / 4
    degrees = variance**2 / ((1.0 / 4) ** 2 + (0.25 / 4) ** 2 + (0.25 / 4) ** 2)
    assert degrees < 1 and result.degrees == 1.0  # never fewer than the trainings allow
    assert result.rate == 0.5 and result.by_training == (1.0, 0.0)
    assert result.high - result.rate == pytest.approx(t.ppf(0.975, 1) * math.sqrt(variance))
    assert result.seed_deviation == pytest.approx(math.sqrt((1.0 - 0.25) / 2))


def test_many_prompts_leave_the_t_interval_over_trainings():
    rng = np.random.default_rng(0)
    table = np.clip(np.array([0.5, 0.6, 0.75])[:, None] + 0.01 * rng.normal(size=(3, 2000)), 0, 1)
    result = pool_trainings(table)
    expected = ttest_1samp(table.mean(1), 0).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high), abs=2e-3)
    assert result.degrees == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(
    "seed_sd, prompt_sd, noise, level",
    [
        (0.05, 0.0, 0.1, 0.95),
        (0.0, 0.2, 0.2, 0.95),
        (0.0, 0.0, 0.4, 0.95),
        (0.1, 0.2, 0.3, 0.95),
        (0.05, 0.3, 0.3, 0.95),
        (0.1, 0.2, 0.3, 0.8),
    ],
)
def test_the_interval_covers_another_seed_and_prompt_at_its_rate(seed_sd, prompt_sd, noise, level):
    rng, trials = np.random.default_rng(7), 1500
    seeds, prompts = rng.normal(0, seed_sd, (trials, 3, 1)), rng.normal(0, prompt_sd, (trials, 1, 60))
    tables = 0.6 + seeds + prompts + rng.normal(0, noise, (trials, 3, 60))
    results = [pool_trainings(table, level=level, limits=(-9, 9)) for table in tables]
    covered = np.mean([result.low <= 0.6 <= result.high for result in results])
    error = 3 * math.sqrt(level * (1 - level) / trials)
    assert level - error < covered < level + (1 - level) * 0.8 + error


def test_pooling_the_prompts_of_all_trainings_as_one_sample_would_not_cover():
    rng = np.random.default_rng(8)
    tables = 0.6 + rng.normal(0, 0.1, (500, 3, 1)) + rng.normal(0, 0.3, (500, 3, 200))
    naive = [abs(table.mean() - 0.6) < 1.96 * table.std() / math.sqrt(table.size) for table in tables]
    ours = [(r := pool_trainings(table, limits=(-9, 9))).low <= 0.6 <= r.high for table in tables]
    assert np.mean(naive) < 0.5 and np.mean(ours) > 0.92


def test_equal_trainings_have_no_deviation_and_a_rate_stays_a_rate():
    result = pool_trainings(np.array([[1.0, 1.0, 0.5], [1.0, 1.0, 0.5]]))
    assert result.seed_deviation == 0 and result.high == 1.0 and result.low < result.rate


def test_of_equal_outcomes_the_interval_is_wilsons_over_prompts():
    constant = pool_trainings(np.ones((3, 4)))
    assert (constant.rate, constant.low, constant.high) == (1.0, share(4, 4).low, 1.0)
    differences = pool_trainings(np.full((3, 4), 2.0), limits=(-math.inf, math.inf))
    assert (differences.low, differences.high) == (2.0, 2.0)


@pytest.mark.parametrize("table", [np.ones((1, 9)), np.ones((3, 1)), np.ones(4), np.array([[1.0, math.nan], [0, 1]])])
def test_one_training_and_holes_are_refused(table):
    with pytest.raises(UserError, match="two trainings or more"):
        pool_trainings(table)

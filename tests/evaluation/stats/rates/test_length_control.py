"""The length-controlled win rate removes the effect of length and nothing else."""

import numpy as np
import pytest

from diffalign.evaluation.stats.rates.length_control import length_controlled


def simulated(n, a, b, seed=0, shift=0.0, per_prompt=1):
    """Returns comparisons with log-odds a + b tanh(gap / sd), and their prompts."""
    draw = np.random.default_rng(seed)
    gap = draw.normal(shift, 20, n)
    odds = a + b * np.tanh(gap / gap.std(ddof=1))
    won = draw.random(n) < 1 / (1 + np.exp(-odds))
    return won.astype(float), np.zeros(n) + 0.5, gap, [k // per_prompt for k in range(n)]


def test_a_judge_that_prefers_length_only_gives_a_rate_of_one_half():
    first, second, gap, prompts = simulated(4000, a=0.0, b=2.0, shift=25)
    result = length_controlled(first, second, gap, prompts)
    assert (first > second).mean() > 0.7, "the plain win rate is fooled"
    assert result.low < 0.5 < result.high and result.rate == pytest.approx(0.5, abs=0.05)
    assert result.slope == pytest.approx(2.0, abs=0.25) and result.n == 4000


def test_a_real_gain_stays():
    result = length_controlled(*simulated(4000, a=1.0, b=1.0, shift=-10))
    assert result.rate == pytest.approx(1 / (1 + np.exp(-1)), abs=0.04) and result.low > 0.5


def test_without_an_effect_of_length_it_is_the_plain_win_rate():
    first, second, gap, _ = simulated(3000, a=0.4, b=0.0)
    assert length_controlled(first, second, gap).rate == pytest.approx((first > second).mean(), abs=0.01)


def test_the_fit_equals_that_of_a_general_optimiser():
    from scipy.optimize import minimize

    first, second, gap, _ = simulated(60, a=0.3, b=1.0, seed=3)
    first[:5] = 0.5  # ties
    x, y = np.tanh(gap / gap.std(ddof=1)), (np.sign(first - second) + 1) / 2

    def cost(w):
        odds = w[0] + w[1] * x
        tie = np.logaddexp(0, w[0]) - w[0] / 2  # a half of either at no difference
        return (np.logaddexp(0, odds) - y * odds).sum() + tie + (w[1] / 3) ** 2 / 2

    best = minimize(cost, [0.0, 0.0], tol=1e-12).x
    result = length_controlled(first, second, gap)
    assert result.slope == pytest.approx(best[1], abs=1e-4)
    assert result.rate == pytest.approx(1 / (1 + np.exp(-best[0])), abs=1e-5)


def test_swapping_the_sides_gives_one_minus_the_rate():
    first, second, gap, prompts = simulated(200, a=0.5, b=1.0)
    one, other = length_controlled(first, second, gap, prompts), length_controlled(second, first, -gap, prompts)
    assert one.rate == pytest.approx(1 - other.rate) and one.low == pytest.approx(1 - other.high)


def test_the_interval_covers_the_truth_and_allows_for_dependent_answers():
    hits = 0
    for seed in range(200):
        result = length_controlled(*simulated(80, a=0.5, b=1.0, seed=seed))
        hits += result.low < 1 / (1 + np.exp(-0.5)) < result.high
    assert 180 <= hits <= 199
    first, second, gap, _ = simulated(60, a=0.3, b=1.0)
    alone = length_controlled(first, second, gap)
    copies = [np.repeat(x, 4) for x in (first, second, gap)]
    clustered = length_controlled(*copies, [k // 4 for k in range(240)])
    assert clustered.high - clustered.low > 0.9 * (alone.high - alone.low), "four copies are not four times the data"


def test_a_judge_that_always_takes_the_longer_one_stays_finite():
    gap = np.linspace(-50, 50, 40)
    result = length_controlled(np.sign(gap), np.zeros(40), gap)
    assert 0.2 < result.low < 0.5 < result.high < 0.8 and 1 < result.slope < 50
    every = length_controlled(np.ones(40), np.zeros(40), gap)
    assert every.rate > 0.95 and every.low > 0.8


def test_too_few_comparisons_or_equal_gaps_give_none():
    assert length_controlled([1.0] * 9, [0.0] * 9, range(9)) is None
    assert length_controlled([1.0] * 20, [0.0] * 20, [3] * 20) is None
    assert length_controlled([np.nan] * 15 + [1.0] * 5, [0.0] * 20, range(20)) is None

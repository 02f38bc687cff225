"""The length-controlled win rate: what length explains is taken away, and no more."""

import numpy as np
import pytest

from diffalign.evaluation.stats.length_control import length_controlled


def simulated(n, a, b, seed=0, shift=0.0, per_prompt=1):
    """Comparisons whose log-odds are a + b tanh(gap / sd), and the prompts they belong to."""
    draw = np.random.default_rng(seed)
    gap = draw.normal(shift, 20, n)
    odds = a + b * np.tanh(gap / gap.std(ddof=1))
    won = draw.random(n) < 1 / (1 + np.exp(-odds))
    return won.astype(float), np.zeros(n) + 0.5, gap, [k // per_prompt for k in range(n)]


def test_a_judge_that_likes_length_alone_is_seen_through():
    first, second, gap, prompts = simulated(4000, a=0.0, b=2.0, shift=25)
    found = length_controlled(first, second, gap, prompts)
    assert (first > second).mean() > 0.7, "the plain win rate is fooled"
    assert found.low < 0.5 < found.high and found.rate == pytest.approx(0.5, abs=0.05)
    assert found.slope == pytest.approx(2.0, abs=0.25) and found.n == 4000


def test_a_real_gain_stays():
    found = length_controlled(*simulated(4000, a=1.0, b=1.0, shift=-10))
    assert found.rate == pytest.approx(1 / (1 + np.exp(-1)), abs=0.04) and found.low > 0.5


def test_where_length_says_nothing_it_is_the_plain_rate():
    first, second, gap, _ = simulated(3000, a=0.4, b=0.0)
    assert length_controlled(first, second, gap).rate == pytest.approx((first > second).mean(), abs=0.01)


def test_it_is_what_a_general_optimiser_finds():
    from scipy.optimize import minimize

    first, second, gap, _ = simulated(60, a=0.3, b=1.0, seed=3)
    first[:5] = 0.5  # ties
    x, y = np.tanh(gap / gap.std(ddof=1)), (np.sign(first - second) + 1) / 2

    def cost(w):
        odds = w[0] + w[1] * x
        tie = np.logaddexp(0, w[0]) - w[0] / 2  # a half of either at no difference
        return (np.logaddexp(0, odds) - y * odds).sum() + tie + (w[1] / 3) ** 2 / 2

    best = minimize(cost, [0.0, 0.0], tol=1e-12).x
    found = length_controlled(first, second, gap)
    assert found.slope == pytest.approx(best[1], abs=1e-4)
    assert found.rate == pytest.approx(1 / (1 + np.exp(-best[0])), abs=1e-5)


def test_exchanging_the_sides_turns_the_rate():
    first, second, gap, prompts = simulated(200, a=0.5, b=1.0)
    one, other = length_controlled(first, second, gap, prompts), length_controlled(second, first, -gap, prompts)
    assert one.rate == pytest.approx(1 - other.rate) and one.low == pytest.approx(1 - other.high)


def test_the_interval_covers_and_knows_that_answers_of_a_prompt_agree():
    hits = 0
    for seed in range(200):
        found = length_controlled(*simulated(80, a=0.5, b=1.0, seed=seed))
        hits += found.low < 1 / (1 + np.exp(-0.5)) < found.high
    assert 180 <= hits <= 199
    first, second, gap, _ = simulated(60, a=0.3, b=1.0)
    alone = length_controlled(first, second, gap)
    copies = [np.repeat(x, 4) for x in (first, second, gap)]
    clustered = length_controlled(*copies, [k // 4 for k in range(240)])
    assert clustered.high - clustered.low > 0.9 * (alone.high - alone.low), "four copies are not four times the data"


def test_a_judge_that_always_takes_the_longer_one_stays_finite():
    gap = np.linspace(-50, 50, 40)
    found = length_controlled(np.sign(gap), np.zeros(40), gap)
    assert 0.2 < found.low < 0.5 < found.high < 0.8 and 1 < found.slope < 50
    every = length_controlled(np.ones(40), np.zeros(40), gap)
    assert every.rate > 0.95 and every.low > 0.8


def test_too_little_to_go_by_gives_nothing():
    assert length_controlled([1.0] * 9, [0.0] * 9, range(9)) is None
    assert length_controlled([1.0] * 20, [0.0] * 20, [3] * 20) is None
    assert length_controlled([np.nan] * 15 + [1.0] * 5, [0.0] * 20, range(20)) is None

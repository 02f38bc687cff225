"""The exact interval against scipy, its duality with the sign test, and its coverage summed over all outcomes."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from diffalign.errors import UserError
from diffalign.evaluation.stats.rates.exact_interval import exact_interval
from diffalign.evaluation.stats.rates.share import share
from diffalign.evaluation.stats.significance.sign_test import sign_test


@pytest.mark.parametrize("hits, n", [(0, 5), (5, 5), (3, 10), (61, 100), (1, 1)])
def test_it_equals_scipys(hits, n):
    expected = binomtest(hits, n).proportion_ci(method="exact")
    assert exact_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("n", [1, 8, 25])
def test_it_excludes_one_half_exactly_where_the_sign_test_is_significant(n):
    for wins in range(n + 1):
        low, high = exact_interval(wins, n)
        assert (low > 0.5 or high < 0.5) == (sign_test(wins, n - wins) < 0.05)


def _coverage(interval, n, truths):
    hits = np.arange(n + 1)
    bounds = np.array([interval(int(k), n) for k in hits])
    inside = (bounds[:, 0, None] <= truths) & (truths <= bounds[:, 1, None])
    return (binom.pmf(hits[:, None], n, truths) * inside).sum(0)


@pytest.mark.parametrize("n", [6, 30])
def test_it_covers_every_share_at_its_rate_or_above_and_wilsons_on_average_only(n):
    truths = np.linspace(0.01, 0.99, 197)
    exact = _coverage(exact_interval, n, truths)
    wilson = _coverage(lambda k, n: (share(k, n).low, share(k, n).high), n, truths)
    assert exact.min() >= 0.95 and exact.mean() > 0.965
    assert wilson.min() < 0.93 and wilson.mean() == pytest.approx(0.953, abs=0.012)


def test_another_level_has_its_own_coverage():
    truths = np.linspace(0.05, 0.95, 91)
    coverage = _coverage(lambda k, n: exact_interval(k, n, level=0.8), 20, truths)
    assert coverage.min() >= 0.8 and coverage.mean() < 0.9


def test_nothing_is_known_of_no_trials():
    assert exact_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("hits, n, level", [(1.5, 3, 0.95), (4, 3, 0.95), (-1, 3, 0.95), (1, 3, 1.0)])
def test_what_is_no_count_is_refused(hits, n, level):
    with pytest.raises(UserError, match="Leave ties out"):
        exact_interval(hits, n, level=level)

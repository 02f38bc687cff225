"""Curves of over-optimisation are found again from their own points, and are read inside their range only."""

import math

import numpy as np
import pytest

from diffalign.errors import UserError
from diffalign.evaluation.stats.best_of_n import best_of_n, kl_of_best
from diffalign.evaluation.stats.over_optimisation import fit_over_optimisation


@pytest.mark.parametrize("form, alpha, beta", [("training", 1.0, 0.5), ("best of n", 1.2, 0.3), ("best of n", 1, 0.1)])
def test_a_curve_is_found_from_its_points(form, alpha, beta):
    root = np.linspace(0.2, 5, 12)
    gains = root * (alpha - beta * (np.log(root) if form == "training" else root))
    fit = fit_over_optimisation(root**2, gains, form)
    assert (fit.alpha, fit.beta, fit.r_squared) == pytest.approx((alpha, beta, 1.0))
    peak = math.exp(alpha / beta - 1) if form == "training" else alpha / (2 * beta)
    assert fit.peak == pytest.approx(min(peak, 5.0) ** 2) and fit.turns == (peak < 5)
    near = [fit.gain(fit.peak * factor) for factor in (0.9, 1.0)]
    assert near[1] >= near[0] and fit.gain(root[3] ** 2) == pytest.approx(gains[3]) and fit.gain(0.0) == 0


def test_a_judge_that_only_falls_peaks_at_no_drift_and_one_that_only_rises_at_the_end():
    drifts = [0.5, 1.0, 2.0, 4.0, 8.0]
    roots = np.sqrt(drifts)
    falls = fit_over_optimisation(drifts, -roots, "best of n")
    assert falls.peak == 0.0 and falls.turns
    rises = fit_over_optimisation(drifts, roots)
    assert rises.peak == pytest.approx(8.0) and not rises.turns


def test_too_few_points_and_points_without_drift_say_nothing():
    assert fit_over_optimisation([1, 2, 3], [1, 2, 3]) is None
    assert fit_over_optimisation([0, 1, 2, 3, 4], [0, 1, math.nan, 3, 4]) is None
    fit = fit_over_optimisation([0.0, 1, 2, 3, 4], [0.0, 1, 2, 3, 4])
    assert fit == fit_over_optimisation([1, 2, 3, 4], [1, 2, 3, 4])
    with pytest.raises(UserError, match="'training' or 'best of n'"):
        fit_over_optimisation([1], [1], "dpo")


def test_best_of_n_of_a_proxy_that_errs_turns_the_gold_score():
    """Gold falls off where the proxy is exploited: proxy = gold + an error that rewards extremes."""
    rng = np.random.default_rng(0)
    gold, quirk = rng.normal(size=(2, 2000))
    proxy = gold + 2.0 * np.maximum(quirk - 1, 0) * 3
    true = gold - 3.0 * np.maximum(quirk - 1, 0)
    sizes = [2, 4, 8, 16, 64, 256]
    drifts = [kl_of_best(n) for n in sizes]
    by_gold, by_proxy = ([best_of_n(proxy, judged, n) - judged.mean() for n in sizes] for judged in (true, proxy))
    assert fit_over_optimisation(drifts, by_gold, "best of n").turns
    assert not fit_over_optimisation(drifts, by_proxy, "best of n").turns

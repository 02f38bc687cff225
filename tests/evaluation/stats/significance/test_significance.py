"""Paired tests, Holm's correction and effect sizes, against scipy and worked examples."""

import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from diffalign.evaluation.stats.significance.effect_size import effect_size
from diffalign.evaluation.stats.significance.holm import holm
from diffalign.evaluation.stats.significance.sign_test import sign_test
from diffalign.evaluation.stats.significance.wilcoxon import wilcoxon_test

RNG = np.random.default_rng(0)


def test_wilcoxons_test_is_scipys_and_leaves_zeros_out():
    x = RNG.normal(0.3, 1, 30)
    assert wilcoxon_test(x) == pytest.approx(wilcoxon(x).pvalue)
    assert wilcoxon_test([*x, 0.0, 0.0]) == wilcoxon_test(x) == pytest.approx(wilcoxon_test(-7 * x))


def test_it_counts_by_hand_for_few_differences():
    # of the 2^5 sign patterns of ranks 1 ... 5, all positive and all negative are as extreme: 2 / 32
    assert wilcoxon_test([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 32)
    assert wilcoxon_test([0.0, 0.0]) == 1.0 == wilcoxon_test([])


@pytest.mark.parametrize("test", [wilcoxon_test, lambda x: sign_test(int((x > 0).sum()), int((x < 0).sum()))])
def test_a_true_null_is_rejected_at_the_stated_rate_or_less(test):
    p = np.array([test(x) for x in np.random.default_rng(1).normal(size=(600, 25))])
    assert np.mean(p < 0.05) < 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 600)
    assert np.mean(p < 0.05) > 0.015


def test_wilcoxon_finds_what_the_sign_test_misses():
    """Few large gains against more small losses."""
    x = np.array([5.0, 6, 7, 8, 9, 10, 11, 12, 13] + [-0.1 * k for k in range(1, 8)])
    assert wilcoxon_test(x) < 0.05 < sign_test(9, 7)


def test_holms_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.02]) == [0.02] and holm([]) == [] and holm([0.6, 0.7]) == [1.0, 1.0]


def test_holm_keeps_order_never_lowers_and_does_not_depend_on_the_order_of_judges():
    p = RNG.random(8)
    adjusted = np.array(holm(list(p)))
    assert (adjusted >= p).all() and (np.diff(adjusted[np.argsort(p)]) >= 0).all()
    turned = RNG.permutation(8)
    assert holm(list(p[turned])) == pytest.approx(list(adjusted[turned]))


def test_some_false_finding_happens_in_at_most_five_percent():
    p = np.random.default_rng(2).random((4000, 6))
    false = np.mean([min(holm(list(row))) < 0.05 for row in p])
    assert abs(false - 0.05) < 2.6 * math.sqrt(0.05 * 0.95 / 4000) and np.mean(p.min(1) < 0.05) > 0.2


def test_effect_sizes_by_hand():
    result = effect_size([3.0, -1.0, 4.0, 0.0])  # mean 1.5, deviation sqrt(17 / 3); ranks 2, 1, 3
    assert result.d_z == pytest.approx(1.5 / math.sqrt(17 / 3)) and result.rank_biserial == pytest.approx(4 / 6)


def test_signs_flip_and_units_do_not_matter():
    x = RNG.normal(0.4, 1, 40)
    one, flipped, scaled = effect_size(x), effect_size(-x), effect_size(100 * x)
    assert (flipped.d_z, flipped.rank_biserial) == pytest.approx((-one.d_z, -one.rank_biserial))
    assert (scaled.d_z, scaled.rank_biserial) == pytest.approx((one.d_z, one.rank_biserial))


def test_the_edges_of_effect_sizes():
    assert effect_size([0.1] * 3).d_z == math.inf and effect_size([-2.0, -2.0]).rank_biserial == -1
    assert effect_size([0.0, 0.0]).d_z == 0.0 and math.isnan(effect_size([1.0]).d_z)

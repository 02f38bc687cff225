"""Agreement of judges: kappa and tau by hand and by laws, and agreement with people."""

import math

import numpy as np
import pytest
from scipy.stats import kendalltau

from diffalign.errors import UserError
from diffalign.evaluation.stats.agreement.cohen_kappa import cohen_kappa
from diffalign.evaluation.stats.agreement.kendall_tau import kendall_tau
from diffalign.evaluation.stats.agreement.with_people import agreement_with_people
from diffalign.evaluation.stats.rates.share import share


def _from_table(table, values=(0, 1)):
    cells = [(a, b) for i, a in enumerate(values) for j, b in enumerate(values) for _ in range(table[i][j])]
    return [a for a, _ in cells], [b for _, b in cells]


def test_kappa_of_a_worked_table():
    # observed 0.7, by chance 0.5 x 0.6 + 0.5 x 0.4 = 0.5
    result = cohen_kappa(*_from_table([[20, 5], [10, 15]]))
    assert result.value == pytest.approx(0.4) and result.agreement == 0.7 and result.n == 50
    assert result.low < 0.4 < result.high


def test_weighted_kappa_of_a_worked_table():
    # categories -1, 0, 1; rows 3, 2, 3 and columns 3, 2, 3 of 8; one disagreement by 1 each way and one by 2 each way
    table, values = [[1, 1, 1], [1, 1, 0], [1, 0, 2]], (-1, 0, 1)
    first, second = _from_table(table, values)
    assert cohen_kappa(first, second).value == pytest.approx(1 - (4 / 8) / (1 - 22 / 64))
    linear = 1 - (2 + 2 * 2) / ((3 * 2 + 2 * 3 + 2 * 3 + 3 * 2 + 2 * (3 * 3 + 3 * 3)) / 8)
    assert cohen_kappa(first, second, weights="linear").value == pytest.approx(linear)
    quadratic = 1 - (2 + 2 * 4) / ((24 + 4 * 18) / 8)
    assert cohen_kappa(first, second, weights="quadratic").value == pytest.approx(quadratic)


def test_kappa_is_one_for_equal_judges_and_about_zero_for_strangers():
    rng = np.random.default_rng(0)
    first, second = rng.integers(-1, 2, (2, 3000))
    assert cohen_kappa(first, first).value == 1.0
    strangers = cohen_kappa(first, second)
    assert strangers.low < 0 < strangers.high and abs(strangers.value) < 0.05
    assert cohen_kappa(second, first).value == pytest.approx(strangers.value)


def test_judges_that_always_say_the_same_have_no_kappa():
    result = cohen_kappa([1, 1, 1], [1, 1, 1])
    assert math.isnan(result.value) and math.isnan(result.low) and result.agreement == 1.0


def test_in_both_orders_kappa_does_not_depend_on_which_side_is_named_first():
    """One judge says 1 throughout because its choices are named first: with two categories kappa is 2 a - 1."""
    judge, people = [1] * 8 + [-1] * 2, [1] * 10
    assert cohen_kappa(judge, people).value == 0.0
    assert cohen_kappa(judge, people, both_orders=True).value == pytest.approx(2 * 0.8 - 1)
    flip = [1, -1] * 5
    turned = [[a * f for a, f in zip(side, flip, strict=True)] for side in (judge, people)]
    assert cohen_kappa(*turned, both_orders=True).value == pytest.approx(0.6)


def test_copies_of_a_prompt_leave_the_interval_of_kappa():
    first, second = _from_table([[20, 5], [10, 15]])
    once = cohen_kappa(first, second)
    often = cohen_kappa(first * 3, second * 3, prompts=list(range(50)) * 3)
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))


def test_the_interval_of_kappa_covers_at_its_rate():
    """Two judges that both see the truth through an error of 10 % have agreement 0.82 and kappa 0.64."""
    rng, covered = np.random.default_rng(3), []
    for trial in range(300):
        truth = rng.integers(0, 2, 80)
        first, second = (np.where(rng.random(80) < 0.1, 1 - truth, truth) for _ in range(2))
        result = cohen_kappa(first, second, seed=trial)
        covered.append(result.low <= 0.64 <= result.high)
    assert abs(np.mean(covered) - 0.95) < 0.02 + 2.6 * math.sqrt(0.95 * 0.05 / 300)


def test_unequal_numbers_of_judgements_are_refused():
    for judges in (([1], [1, 0]), ([], [])):
        with pytest.raises(UserError, match="equally many"):
            cohen_kappa(*judges)


def test_tau_by_hand_and_by_scipy():
    assert kendall_tau([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(4 / 6)  # five pairs in order, one not
    x, y = np.random.default_rng(1).integers(0, 6, (2, 50)).astype(float)
    assert kendall_tau(x, y) == pytest.approx(kendalltau(x, y).statistic)
    assert kendall_tau(np.exp(x), y) == pytest.approx(kendall_tau(x, y)) == pytest.approx(-kendall_tau(-x, y))


def test_tau_leaves_out_nan_and_is_undefined_for_a_judge_without_an_opinion():
    assert kendall_tau([1, 2, math.nan, 3], [1, 2, 0, 3]) == 1.0
    assert math.isnan(kendall_tau([1, 1, 1], [1, 2, 3])) and math.isnan(kendall_tau([1], [1]))


def test_plain_votes_are_an_accuracy_with_wilsons_interval():
    result = agreement_with_people([1.0, 2.0, -1.0, 0.0], [1.0] * 4)
    assert result.rate == 0.625 and result.ceiling == 1.0 and (result.n, result.undecided) == (4, 0)
    assert (result.low, result.high) == (share(2.5, 4).low, share(2.5, 4).high)


def test_shares_of_people_set_a_ceiling():
    result = agreement_with_people([1.0, -1.0, 1.0, math.nan, 5.0], [0.75, 0.25, 0.6, 1.0, 0.5])
    assert result.rate == pytest.approx((0.75 + 0.75 + 0.6) / 3) == pytest.approx(result.ceiling)
    assert result.kappa.value == 1.0 and (result.n, result.undecided) == (3, 2)


def test_a_judge_that_ignores_the_votes_agrees_by_half_and_without_a_vote_nothing_is_known():
    rng = np.random.default_rng(6)
    result = agreement_with_people(rng.normal(size=4000), np.ones(4000), np.repeat(np.arange(2000), 2))
    assert result.low < 0.5 < result.high and abs(result.kappa.value) < 0.05
    nothing = agreement_with_people([1.0], [0.5])
    assert nothing.kappa is None and math.isnan(nothing.rate) and nothing.undecided == 1

"""Comparisons of several trainings pooled, and several models as trade-offs of one base."""

import math
from dataclasses import replace

import numpy as np
import pytest

from diffalign.errors import DataError, UserError
from diffalign.evaluation.analysis.pool_comparisons import pool_comparisons
from diffalign.evaluation.analysis.trade_offs import comparison_trade_offs
from diffalign.evaluation.stats.rates.pooled_trainings import pool_trainings
from tests.evaluation.analysis.test_judge_details import compared


def training(gaps, prompts=None, role="held-out", **more):
    judges = {"a": (role, [(0.0, gap) for gap in gaps])}
    judges |= {name: ("held-out", [(0.0, gap) for gap in values]) for name, values in more.items()}
    return compared(judges, prompts)


def test_trainings_are_pooled_by_prompt():
    first, second = training([1.0, -1.0, 2.0, 0.0]), training([1.0, 1.0, -3.0, 1.0])
    (judge,) = pool_comparisons([first, second])
    table = np.array([[1.0, 0.0, 1.0, 0.5], [1.0, 1.0, 0.0, 1.0]])
    assert judge.win == pool_trainings(table) and judge.win.by_training == (0.625, 0.75)
    assert judge.difference.rate == pytest.approx(0.25) and judge.left_out == 0
    assert "62 % over" not in str(judge) and "over 2 trainings and 4 prompts" in str(judge)


def test_samples_of_a_prompt_are_averaged_first():
    prompts = ["p", "p", "q", "q"]
    (judge,) = pool_comparisons([training([1, -1, 1, 1], prompts), training([1, 1, 1, -1], prompts)])
    assert judge.win == pool_trainings(np.array([[0.5, 1.0], [1.0, 0.5]])) and judge.win.prompts == 2


def test_prompts_that_a_training_lacks_are_left_out_and_counted():
    first = training([1.0, 1.0, 1.0], ["p", "q", "r"])
    second = training([1.0, -1.0, math.nan, 1.0], ["p", "q", "r", "s"])
    (judge,) = pool_comparisons([first, second])
    assert judge.win.prompts == 2 and judge.left_out == 2 and "2 prompts that not all" in str(judge)
    with pytest.raises(DataError, match="two or more"):
        pool_comparisons([first, training([1.0, 1.0], ["p", "x"])])


def test_only_judges_of_one_role_and_of_the_same_weights_are_pooled():
    with pytest.raises(DataError, match="share no judge"):
        pool_comparisons([training([1.0, 1.0]), training([1.0, 1.0], role="trained-on")])
    found = pool_comparisons([training([1.0, 1.0], b=[1.0, 2.0]), training([1.0, 1.0])])
    assert [judge.name for judge in found] == ["a"]
    with pytest.raises(UserError, match="two trainings"):
        pool_comparisons([training([1.0, 1.0])])


BASE = [0.0, 1.0, 2.0]


def model(a, b):
    """An aligned model that gains ``a`` and ``b`` on scores with deviations 1 and 100."""
    second = [(100 * x, 100 * (x + b)) for x in BASE]
    return compared({"a": ("held-out", [(x, x + a) for x in BASE]), "b": ("held-out", second)})


def test_models_are_points_in_deviations_of_the_base():
    found = comparison_trade_offs({"x": model(1.0, 2.0), "y": model(2.0, 1.0), "z": model(0.5, 0.5)})
    spread = np.std(BASE * 3, ddof=1)
    assert np.array(found.points) * spread == pytest.approx(np.array([[1, 2], [2, 1], [0.5, 0.5]]))
    assert found.front == (True, True, False) and found.names == ("x", "y", "z")
    assert found.hypervolume == pytest.approx(3 / spread**2) and found.rows()[2][2] is False


def test_trade_offs_need_two_judges_that_tell_the_bases_samples_apart():
    with pytest.raises(DataError, match="two held-out judges"):
        comparison_trade_offs({"x": training([1.0, 2.0]), "y": training([1.0, 2.0])})
    one = {"a": ("held-out", [(x, x + 1) for x in BASE]), "t": ("trained-on", [(x, x + 1) for x in BASE])}
    with pytest.raises(DataError, match="got a"):
        comparison_trade_offs({"x": compared(one), "y": compared(one)})


def test_trade_offs_need_judges_of_the_same_weights():
    other = model(1.0, 2.0)
    judges = tuple(replace(judgement, weights="other") for judgement in other.judgements)
    with pytest.raises(DataError, match="got none"):
        comparison_trade_offs({"x": model(1.0, 2.0), "y": replace(other, judgements=judges)})

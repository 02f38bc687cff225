"""Several objectives: fronts, volumes, utilities and gaps against hand-worked examples, brute force and laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from diffalign.errors import UserError
from diffalign.evaluation.stats.objectives.expected_utility import expected_utility, simplex_weights
from diffalign.evaluation.stats.objectives.hypervolume import hypervolume
from diffalign.evaluation.stats.objectives.pareto_front import Dominance, dominance, pareto_front
from diffalign.evaluation.stats.objectives.sparsity import sparsity

STAIRS = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [1.0, 1.0]])
POINTS = arrays(np.float64, st.tuples(st.integers(1, 7), st.integers(1, 3)), elements=st.integers(0, 4).map(float))


def test_the_front_of_a_staircase():
    assert pareto_front(STAIRS).tolist() == [True, True, True, False]
    assert pareto_front([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]]).tolist() == [True, True, False]
    assert pareto_front([[1.0, math.nan], [0.0, 0.0]]).tolist() == [False, True]


@settings(max_examples=80, deadline=None)
@given(POINTS)
def test_no_point_of_the_front_is_dominated_and_every_other_is(points):
    front = pareto_front(points)
    beats = lambda a, b: (a >= b).all() and (a > b).any()
    assert front.tolist() == [not any(beats(other, point) for other in points) for point in points]
    assert front.any() and pareto_front(3 * points + 1).tolist() == front.tolist()


def test_dominance_is_counted_by_who_is_better_everywhere():
    first = np.array([[2, 2], [1, 1], [2, 0], [1, 1], [1, 2], [math.nan, 3]])
    second = np.array([[1, 1], [2, 1], [1, 1], [1, 1], [1, 1], [0, 0]])
    counts = dominance(first, second)
    assert counts == Dominance(better=2, worse=1, traded=1, equal=1) and counts.n == 5
    mirrored = dominance(second, first)
    assert (mirrored.better, mirrored.worse) == (counts.worse, counts.better)


def test_the_volume_of_a_staircase_and_of_boxes():
    assert hypervolume(STAIRS, [0, 0]) == 6.0  # 3 + 2 + 1
    assert hypervolume([[2.0, 3.0, 4.0]], [1, 1, 1]) == 6.0
    # two boxes of 2 x 1 x 1 and 1 x 2 x 1 share 1 x 1 x 1; a third adds a unit cube on top
    assert hypervolume([[2, 1, 1], [1, 2, 1]], [0, 0, 0]) == 3.0
    assert hypervolume([[2, 1, 1], [1, 2, 1], [1, 1, 2]], [0, 0, 0]) == 4.0
    assert hypervolume([[2.0, -1.0]], [0, 0]) == 0.0 == hypervolume(np.zeros((0, 2)), [0, 0])


@settings(max_examples=80, deadline=None)
@given(POINTS)
def test_the_volume_is_the_number_of_unit_cubes_below_the_points(points):
    count = points.shape[1]
    cells = np.stack(np.meshgrid(*[np.arange(4) + 0.5] * count, indexing="ij"), -1).reshape(-1, count)
    inside = (cells[:, None] <= points[None]).all(2).any(1).sum()
    assert hypervolume(points, [0.0] * count) == pytest.approx(inside)


def test_shifts_change_no_volume_and_a_factor_is_a_factor():
    points = np.random.default_rng(0).random((9, 4))
    volume = hypervolume(points, [0.1] * 4)
    assert hypervolume(points + 5, [5.1] * 4) == pytest.approx(volume)
    assert hypervolume(points * [1, 1, 10, 1], [0.1, 0.1, 1, 0.1]) == pytest.approx(10 * volume)
    assert hypervolume(np.vstack([points, points[:3], points.min(0)[None]]), [0.1] * 4) == pytest.approx(volume)
    with pytest.raises(UserError, match="reference of K numbers"):
        hypervolume(points, [0.0])


def test_expected_utility_of_two_extremes_is_three_quarters():
    assert expected_utility(np.eye(2)) == pytest.approx(0.75, abs=2e-4)  # the mean of max(w, 1 - w)
    assert expected_utility(np.eye(3)) == pytest.approx(11 / 18, abs=1e-3)  # (1 + 1/2 + 1/3) / 3
    assert expected_utility([[2.0, 4.0]]) == pytest.approx(3.0, abs=1e-3)


def test_dominated_points_add_no_utility_and_given_tastes_are_used():
    assert expected_utility(STAIRS) == expected_utility(STAIRS[:3])
    assert expected_utility(STAIRS, np.array([[1.0, 0.0], [0.5, 0.5]])) == 2.5
    with pytest.raises(UserError, match="2 numbers"):
        expected_utility(STAIRS, np.ones((1, 3)))
    with pytest.raises(UserError, match="one point"):
        expected_utility(np.zeros((0, 2)))


def test_tastes_are_spread_evenly_and_are_the_same_each_time():
    weights = simplex_weights(3)
    assert weights.sum(1) == pytest.approx(1.0) and weights.min() >= 0
    assert weights.mean(0) == pytest.approx(1 / 3, abs=1e-3) and (weights == simplex_weights(3)).all()
    assert weights.var(0) == pytest.approx(1 / 18, abs=1e-3)  # of a uniform simplex


def test_sparsity_by_hand():
    assert sparsity(STAIRS) == 2.0  # steps of 1 in both objectives: (2 + 2) / 2
    assert sparsity([[0.0, 4.0], [4.0, 0.0]]) == 32.0
    assert math.isnan(sparsity([[1.0, 1.0], [0.0, 0.0]]))
    assert sparsity(np.vstack([STAIRS, STAIRS])) == 2.0 and sparsity(3 * STAIRS) == 18.0

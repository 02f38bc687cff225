"""A sum of scorers: each has the same say whatever its unit, unless a weight says otherwise."""

import math
import statistics

import pytest

from diffalign.errors import DataError, UserError
from diffalign.scorers.composed.sum_of_scores import sum_of_scores

CLIP, MOTION = [0.2, 0.3, 0.25, 0.25], [0.0, 0.0, 10.0, 30.0]


def test_z_scores_have_mean_zero_and_deviation_one():
    totals, (term,) = sum_of_scores({"clip": CLIP})
    assert sum(totals) == pytest.approx(0.0, abs=1e-12) and statistics.pstdev(totals) == pytest.approx(1.0)
    assert totals[1] == pytest.approx((0.3 - 0.25) / statistics.pstdev(CLIP)) and term.offset == pytest.approx(0.25)


def test_min_max_runs_from_zero_to_one():
    totals, _ = sum_of_scores({"clip": CLIP}, how="min-max")
    assert totals == pytest.approx([0.0, 1.0, 0.5, 0.5])


def test_units_do_not_count_and_weights_do():
    plain, _ = sum_of_scores({"clip": CLIP, "motion": MOTION}, how="min-max")
    other_unit, _ = sum_of_scores({"clip": [100 * s for s in CLIP], "motion": [s - 7 for s in MOTION]}, how="min-max")
    assert plain == pytest.approx([0.0, 1.0, 0.5 + 1 / 3, 1.5]) and other_unit == pytest.approx(plain)
    weighted, terms = sum_of_scores({"clip": CLIP, "motion": MOTION}, {"motion": -2.0}, "min-max")
    assert weighted == pytest.approx([0.0, 1.0, 0.5 - 2 / 3, 0.5 - 2.0])
    assert str(terms[1]) == "-2 x (motion - 0) / 30"


def test_a_scorer_that_says_the_same_everywhere_has_no_say():
    totals, terms = sum_of_scores({"clip": CLIP, "still": [1.0] * 4}, how="min-max")
    assert totals == pytest.approx([0.0, 1.0, 0.5, 0.5])
    assert str(terms[1]) == "still has no say, as all its scores are 1"


@pytest.mark.parametrize(
    ("weights", "how", "message"),
    [
        ({"clop": 1.0}, "z-score", "Did you mean 'clip'"),
        ({"clip": math.nan}, "z-score", "expected a finite number"),
        ({"clip": 0.0, "motion": 0.0}, "z-score", "nothing would decide"),
        ({}, "zscore", "Did you mean 'z-score'"),
    ],
)
def test_wrong_settings_are_named(weights, how, message):
    with pytest.raises(UserError, match=message):
        sum_of_scores({"clip": CLIP, "motion": MOTION}, weights, how)


def test_a_score_that_is_not_finite_cannot_be_added():
    with pytest.raises(DataError, match="motion gave the score nan"):
        sum_of_scores({"clip": CLIP, "motion": [0.0, math.nan, 1.0, 2.0]})

"""The Vendi score counts what is different."""

import math

import numpy as np
import pytest

from diffalign.errors import UserError
from diffalign.evaluation.stats.vendi import vendi_score


def test_strangers_count_fully_copies_once_and_two_groups_twice():
    assert vendi_score(np.eye(5)) == pytest.approx(5.0)
    assert vendi_score(np.ones((5, 5))) == pytest.approx(1.0)
    assert vendi_score(np.kron(np.eye(2), np.ones((3, 3)))) == pytest.approx(2.0)


def test_two_samples_by_hand():
    # eigenvalues (1 + s) / 2 and (1 - s) / 2
    s = 0.6
    expected = math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert vendi_score([[1, s], [s, 1]]) == pytest.approx(expected) == pytest.approx(1.6493848, abs=1e-6)


def test_it_lies_between_one_and_the_number_of_samples_in_any_order():
    features = np.random.default_rng(0).normal(size=(12, 4))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    value = vendi_score(features @ features.T)
    turned = features[::-1]
    assert 1 < value <= 4 + 1e-9 and vendi_score(turned @ turned.T) == pytest.approx(value)
    twice = np.vstack([features, features])
    assert vendi_score(twice @ twice.T) == pytest.approx(value)


def test_unnormalised_features_are_refused_and_nothing_has_no_score():
    with pytest.raises(UserError, match="Divide each feature vector"):
        vendi_score(4 * np.eye(3))
    with pytest.raises(UserError, match="symmetric"):
        vendi_score(np.array([[1.0, 0.9], [0.1, 1.0]]))
    assert math.isnan(vendi_score(np.zeros((0, 0))))

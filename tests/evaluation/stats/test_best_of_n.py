"""Best of n: worked examples, and the law that every subset counts once."""

import itertools

import numpy as np
import pytest

from diffalign.evaluation.stats.best_of_n import best_of_n, kl_of_best


def test_worked_example_scores_are_reproduced():
    gold = [0.0, 1.0, 2.0, 3.0]
    assert best_of_n(gold, gold, 1) == 1.5 and best_of_n(gold, gold, 4) == 3.0
    assert best_of_n(gold, gold, 2) == pytest.approx(2.333333, abs=5e-7)
    shown = {2: 0.193147, 4: 0.636294, 16: 1.835089, 12500: 8.433564}
    assert all(kl_of_best(n) == pytest.approx(kl, abs=5e-7) for n, kl in shown.items())
    assert kl_of_best(1) == 0


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_best_of_n_is_the_mean_over_all_subsets(n):
    picks, gold = np.random.default_rng(n).normal(size=(2, 7))
    every = [gold[max(subset, key=lambda i: picks[i])] for subset in itertools.combinations(range(7), n)]
    assert best_of_n(picks, gold, n) == pytest.approx(np.mean(every))


def test_tied_samples_share_their_mean_score_in_any_order():
    assert best_of_n([1, 1, 0], [5.0, 3.0, 0.0], 3) == 4.0 == best_of_n([0, 1, 1], [0.0, 3.0, 5.0], 3)


def test_the_estimate_is_unbiased_for_fresh_samples():
    """The best of 3 of a standard normal has mean 3 / (2 sqrt(pi)) = 0.8463; so has the mean over sets of 6 samples."""
    draws = np.random.default_rng(0).normal(size=(4000, 6))
    estimates = [best_of_n(row, row, 3) for row in draws]
    assert np.mean(estimates) == pytest.approx(1.5 / np.sqrt(np.pi), abs=3 * np.std(estimates) / np.sqrt(4000))


def test_it_varies_less_than_the_best_of_the_first_n():
    draws = np.random.default_rng(1).normal(size=(2000, 8))
    assert np.var([best_of_n(row, row, 2) for row in draws]) < 0.5 * np.var(draws[:, :2].max(1))

"""The entropy of differential information: worked numbers, identities, and a word where it means nothing."""

import math

import numpy as np
import pytest

from diffalign.evaluation.compare.differential_entropy import differential_entropy, mean_differential_entropy

REFERENCE, POLICY = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])


def of(answers, policy=POLICY, reference=REFERENCE):
    return differential_entropy(np.log(policy[answers]), np.log(reference[answers]))


def test_the_worked_distribution_is_found_from_answers_in_its_proportions():
    found = of([0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
    assert found.entropy == pytest.approx(0.867589, abs=5e-7)
    q = POLICY / REFERENCE / (POLICY / REFERENCE).sum()
    assert q.tolist() == [pytest.approx(x, abs=5e-7) for x in (0.102564, 0.256410, 0.641026)]
    assert found.entropy == pytest.approx(-(q * np.log(q)).sum())


def test_a_random_sample_comes_near_and_a_policy_like_its_reference_counts_the_answers():
    draw = np.random.default_rng(0)
    assert of(draw.choice(3, 20_000, p=POLICY)).entropy == pytest.approx(0.867589, abs=0.01)
    same = of(draw.choice(3, 20_000, p=REFERENCE), policy=REFERENCE)
    assert same.entropy == pytest.approx(math.log(3), abs=0.01) and same.spread == pytest.approx(1.0)


def test_an_estimate_on_one_answer_is_none():
    found = differential_entropy([-10.0, -11.0, -300.0], [-10.0, -12.0, -400.0])
    assert math.isnan(found.entropy) and found.effective == pytest.approx(1.0) and not found.usable
    assert 0 <= found.spread < 0.01
    assert "is unknown" in found.summary() and "1.0 on average" in found.summary()


def test_prompts_are_averaged_and_those_with_few_answers_left_out():
    long, policy, reference = [0, 0, 1, 1, 1, 2, 2, 2, 2, 2], np.log(POLICY), np.log(REFERENCE)
    answers = [*long, *long, 0, 1]
    prompts = ["a"] * 10 + ["b"] * 10 + ["few"] * 2
    found = mean_differential_entropy(policy[answers], reference[answers], prompts)
    assert (found.prompts, found.usable, found.answers) == (2, 2, 10) and found.entropy == pytest.approx(0.867589)
    assert "0.868 nats over 2 of 2 prompts" in found.summary()
    assert mean_differential_entropy(policy[[0, 1]], reference[[0, 1]], ["few", "few"]) is None


def test_very_unlikely_answers_do_not_overflow():
    found = differential_entropy([-5000.0] * 8, [-6000.0] * 8)
    assert math.isfinite(found.entropy) and found.effective == pytest.approx(8)

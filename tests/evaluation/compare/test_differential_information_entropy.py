"""The entropy of differential information: worked examples, identities, and a message without an estimate."""

import math

import numpy as np
import pytest

from diffalign.evaluation.compare.differential_information_entropy import (
    differential_entropy,
    mean_differential_entropy,
)

REFERENCE, POLICY = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])


def of(answers, policy=POLICY, reference=REFERENCE):
    return differential_entropy(np.log(policy[answers]), np.log(reference[answers]))


def test_the_entropy_of_an_example_distribution_is_estimated_from_exact_proportions():
    result = of([0, 0, 1, 1, 1, 2, 2, 2, 2, 2])
    assert result.entropy == pytest.approx(0.867589, abs=5e-7)
    q = POLICY / REFERENCE / (POLICY / REFERENCE).sum()
    assert q.tolist() == [pytest.approx(x, abs=5e-7) for x in (0.102564, 0.256410, 0.641026)]
    assert result.entropy == pytest.approx(-(q * np.log(q)).sum())


def test_a_random_sample_gives_a_close_estimate_and_equal_models_the_log_of_the_number_of_answers():
    draw = np.random.default_rng(0)
    assert of(draw.choice(3, 20_000, p=POLICY)).entropy == pytest.approx(0.867589, abs=0.01)
    same = of(draw.choice(3, 20_000, p=REFERENCE), policy=REFERENCE)
    assert same.entropy == pytest.approx(math.log(3), abs=0.01) and same.spread == pytest.approx(1.0)


def test_an_estimate_from_one_effective_answer_is_nan():
    result = differential_entropy([-10.0, -11.0, -300.0], [-10.0, -12.0, -400.0])
    assert math.isnan(result.entropy) and result.effective == pytest.approx(1.0) and not result.usable
    assert 0 <= result.spread < 0.01
    assert "is unknown" in result.summary() and "1.0 on average" in result.summary()


def test_prompts_are_averaged_and_prompts_with_few_answers_are_left_out():
    long, policy, reference = [0, 0, 1, 1, 1, 2, 2, 2, 2, 2], np.log(POLICY), np.log(REFERENCE)
    answers = [*long, *long, 0, 1]
    prompts = ["a"] * 10 + ["b"] * 10 + ["few"] * 2
    result = mean_differential_entropy(policy[answers], reference[answers], prompts)
    assert (result.prompts, result.usable, result.answers) == (2, 2, 10) and result.entropy == pytest.approx(0.867589)
    assert "0.868 nats over 2 of 2 prompts" in result.summary()
    assert mean_differential_entropy(policy[[0, 1]], reference[[0, 1]], ["few", "few"]) is None


def test_very_unlikely_answers_do_not_overflow():
    result = differential_entropy([-5000.0] * 8, [-6000.0] * 8)
    assert math.isfinite(result.entropy) and result.effective == pytest.approx(8)

"""The spike guard, on series made for it."""

import json
import random

import pytest

from diffalign.training.recipe.schema import Guard
from diffalign.training.step.spike_guard import SpikeGuard
from diffalign.training.step.step_stats import StepStats


def readings(count, seed=0):
    luck = random.Random(seed)
    return [
        StepStats(luck.lognormvariate(-0.4, 0.3), luck.lognormvariate(1, 0.8), luck.gauss(0, 1e-3))
        for _ in range(count)
    ]


LOUD = StepStats(loss=50.0, grad_norm=1e5, chosen_change=0.5)


def verdicts(guard, series):
    return [guard.check(reading) for reading in series]


def test_a_heavy_tailed_run_has_no_spike():
    guard = SpikeGuard(Guard())
    assert set(verdicts(guard, readings(2000))) == {"ok"}


def test_one_outlier_is_chance_and_three_are_a_spike():
    guard = SpikeGuard(Guard())
    verdicts(guard, readings(50))
    assert guard.check(LOUD) == "ok"
    assert set(verdicts(guard, readings(5))) == {"ok"} and guard.streak == 0
    assert verdicts(guard, [LOUD] * 3) == ["ok", "ok", "spike"]
    assert guard.outlier_metric == "loss, grad_norm, chosen_change"


@pytest.mark.parametrize("changed", ["loss", "grad_norm", "chosen_change"])
def test_each_series_can_be_the_outlier(changed):
    guard = SpikeGuard(Guard(patience=1))
    verdicts(guard, readings(50))
    calm = {"loss": 0.7, "grad_norm": 2.0, "chosen_change": 0.0}
    assert guard.check(StepStats(**{**calm, changed: getattr(LOUD, changed)})) == "spike"
    assert guard.outlier_metric == changed


def test_skipping_is_bounded():
    guard = SpikeGuard(Guard(action="skip", max_skips=2))
    verdicts(guard, readings(50))
    assert verdicts(guard, [LOUD] * 3) == ["skip", "skip", "spike"]


def test_no_step_is_checked_before_there_is_a_history():
    assert set(verdicts(SpikeGuard(Guard(patience=1)), [*readings(10), LOUD])) == {"ok"}


def test_a_policy_that_is_no_denoiser_is_checked_too():
    guard = SpikeGuard(Guard(patience=1))
    verdicts(guard, [StepStats(0.7, 1.0)] * 30)
    assert guard.check(StepStats(0.7, 1e4)) == "spike"


def test_the_state_goes_through_json_and_decides_the_same():
    series = [*readings(60), LOUD, LOUD]
    one, other = SpikeGuard(Guard()), SpikeGuard(Guard())
    verdicts(one, series)
    other.load_state(json.loads(json.dumps(one.state())))
    assert other.check(LOUD) == one.check(LOUD) == "spike"


def test_a_new_reference_starts_new_comparisons_and_keeps_the_gradients():
    guard = SpikeGuard(Guard(window=10))
    for _ in range(10):
        assert guard.check(StepStats(loss=0.1, grad_norm=1.0, chosen_change=-0.01)) == "ok"
    guard.forget_reference()
    assert guard.history == {"grad_norm": [0.0] * 10}
    for _ in range(5):
        assert guard.check(StepStats(loss=0.69, grad_norm=1.0, chosen_change=0.0)) == "ok"
    assert guard.streak == 0

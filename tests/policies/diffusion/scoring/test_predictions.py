"""Every estimator with every kind of prediction: exact where policy and reference are equal, finite at every level."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from diffalign.labels import LABELS, expected
from diffalign.latents import LATENTS, Schedule
from diffalign.losses import LOSSES, PairLogps
from tests.policies.conftest import draw_for, levels_of, margin, question, shake
from tests.tiny import tiny_pairs, tiny_sd

LEVELS = [0, 1, 57, 500, 998, 999]
SCHEDULERS = {
    "epsilon": {},
    "v_prediction": {"prediction_type": "v_prediction"},
    "v_prediction to pure noise": {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
    "sample": {"prediction_type": "sample"},
}
WAYS = [*((name, {}) for name in LATENTS), ("ddim_inversion", {"mode": "released"}), ("renoise", {"mode": "released"})]
EVERY = pytest.mark.parametrize(
    ("scheduler", "name", "settings"),
    [(scheduler, name, settings) for scheduler, (name, settings) in product(SCHEDULERS, WAYS)],
    ids=lambda value: "-".join(map(str, value.values())) or "exact" if isinstance(value, dict) else value,
)

EVERY_WAY = pytest.mark.parametrize(("name", "settings"), WAYS, ids=[f"{name}-{list(given)}" for name, given in WAYS])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return {name: tiny_sd(tmp_path_factory.mktemp("model"), scheduler=given) for name, given in SCHEDULERS.items()}


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    return tiny_pairs(tmp_path_factory.mktemp("six"), count=len(LEVELS))


@pytest.fixture
def every_level(monkeypatch):
    """The pairs of a batch stand at the levels of LEVELS instead of at drawn ones."""
    monkeypatch.setattr(
        "diffalign.policies.diffusion.scoring.denoiser.timesteps", lambda *_, **__: torch.tensor(LEVELS)
    )


def choice(scheduler, name, settings):
    """A sample prediction says nothing about the noise of a clean latent, so it is taken for level 0."""
    start = {"clean": "alpha0"} if scheduler == "sample" and LATENTS[name].asks else {}
    return {"name": name, **settings, **start}


@EVERY
def test_equal_policy_and_reference_cost_log_two_and_a_moved_one_stays_finite_at_all_levels(
    make, models, six, every_level, scheduler, name, settings
):
    policy = make(models[scheduler], latents=choice(scheduler, name, settings))
    encoded, draw = policy.encode(six), draw_for(six)
    assert levels_of(policy, encoded, draw) == LEVELS
    assert all(latents.isfinite().all() for latents in question(policy, encoded, draw).latents)
    candidates = [*policy.logps(encoded, draw).candidates, *policy.reference_logps(encoded, draw).candidates]
    assert all(scores.logps.isfinite().all() for scores in candidates)
    scores = PairLogps(*candidates, point=torch.zeros(()))
    assert torch.equal(scores.margin, torch.zeros(6))
    for row in LOSSES.values():
        if row.at_zero is not None and row.takes == "margin" and not row.limits.keys() - {"beta", "flip"}:
            bound = row.bind(beta=500.0, **({"flip": 0.1} if "flip" in row.limits else {}))
            value = expected(bound, scores, LABELS["hard"](six))
            torch.testing.assert_close(value, torch.full((6,), row.at_zero(bound.hyper), dtype=value.dtype))
    moved = margin(shake(policy), encoded, draw)
    assert moved.isfinite().all() and (moved != 0).sum() >= 5


@EVERY_WAY
def test_a_flow_costs_log_two_and_stays_finite_as_well(make, models, six, every_level, name, settings):
    policy = make(models["epsilon"], latents=choice("flow", name, settings))
    judged_by(policy, Schedule.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}))
    encoded, draw = policy.encode(six), draw_for(six)
    assert torch.equal(margin(policy, encoded, draw), torch.zeros(6))
    moved = margin(shake(policy), encoded, draw)
    assert moved.isfinite().all() and (moved != 0).sum() >= 5


@EVERY_WAY
def test_an_epsilon_prediction_that_ends_in_pure_noise_is_judged_below_it(make, six, tmp_path, name, settings):
    model = tiny_sd(tmp_path / "model", scheduler={"rescale_betas_zero_snr": True})
    policy = shake(make(model, latents=choice("epsilon", name, settings), timesteps=(997, None)))
    encoded, met = policy.encode(six), set()
    for visit in range(3):
        met |= set(levels_of(policy, encoded, draw_for(six, visit)))
        assert margin(policy, encoded, draw_for(six, visit)).isfinite().all()
    assert met == {997, 998}


@pytest.mark.parametrize("latents", ["forward", {"name": "ddim_inversion", "clean": "alpha0"}])
def test_v_errors_weighted_by_their_factor_are_epsilon_errors(make, models, six, every_level, latents):
    """The same network, read as saying epsilon: so a constant beta on v errors is beta / alpha_bar_t on epsilon's."""
    policy = shake(make(models["v_prediction"], latents=latents))
    encoded, draw, schedule = policy.encode(six), draw_for(six), policy._denoiser.schedule
    v = [scored.info for scored in (policy.logps(encoded, draw), policy.reference_logps(encoded, draw))]
    say_v = policy._policy_and_reference._call

    def say_epsilon(network, x_t, t, conditioning):
        return schedule.to_epsilon(say_v(network, x_t, t, conditioning), x_t, t)

    policy._policy_and_reference._call = say_epsilon
    policy._policy_and_reference._pose = policy._policy_and_reference._posing()
    judged_by(policy, replace(schedule, prediction="epsilon"))
    epsilon = [scored.info for scored in (policy.logps(encoded, draw), policy.reference_logps(encoded, draw))]
    factor = schedule.error_factor(torch.tensor(LEVELS)).float()
    assert factor.max() > 100
    for one, other in zip(v, epsilon, strict=True):
        for name in ("chosen_error", "rejected_error"):
            torch.testing.assert_close(one[name], factor * other[name], rtol=2e-4, atol=1e-6)


def judged_by(policy, schedule):
    """The same policy under another schedule."""
    rules = replace(policy._denoiser, schedule=schedule)
    policy._denoiser = policy._policy_and_reference.denoiser = policy._policy_and_reference._pose.denoiser = rules

"""Every estimator with every kind of prediction: exact where policy and reference are equal, finite at every level."""

from dataclasses import replace
from itertools import product

import pytest
import torch

from diffalign.labels import LABELS, expected
from diffalign.latents import LATENTS, Schedule
from diffalign.losses import LOSSES, PairLogps
from tests.policies.conftest import draw_for, inputs_of, levels_of, margin, shake
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
    """Gives the pairs of a batch the levels of LEVELS instead of drawn ones."""
    monkeypatch.setattr(
        "diffalign.policies.diffusion.scoring.denoiser_scoring.timesteps", lambda *_, **__: torch.tensor(LEVELS)
    )


def choice(scheduler, name, settings):
    """A sample prediction contains no noise of a clean latent, so the latent is treated as level 0."""
    start = {"clean": "alpha0"} if scheduler == "sample" and LATENTS[name].needs_network else {}
    return {"name": name, **settings, **start}


@EVERY
def test_equal_policy_and_reference_cost_log_two_and_a_moved_one_stays_finite_at_all_levels(
    make, models, six, every_level, scheduler, name, settings
):
    policy = make(models[scheduler], latents=choice(scheduler, name, settings))
    encoded, draw = policy.encode(six), draw_for(six)
    assert levels_of(policy, encoded, draw) == LEVELS
    assert all(latents.isfinite().all() for latents in inputs_of(policy, encoded, draw).latents)
    candidates = [*policy.logps(encoded, draw).candidates, *policy.reference_logps(encoded, draw).candidates]
    assert all(scores.logps.isfinite().all() for scores in candidates)
    scores = PairLogps(*candidates, baseline=torch.zeros(()))
    assert torch.equal(scores.margin, torch.zeros(6))
    for row in LOSSES.values():
        if row.at_zero is not None and row.takes == "margin" and not row.limits.keys() - {"beta", "flip"}:
            bound = row.bind(beta=500.0, **({"flip": 0.1} if "flip" in row.limits else {}))
            value = expected(bound, scores, LABELS["hard"](six))
            torch.testing.assert_close(value, torch.full((6,), row.at_zero(bound.hyper), dtype=value.dtype))
    moved = margin(shake(policy), encoded, draw)
    assert moved.isfinite().all() and (moved != 0).sum() >= 5


@EVERY_WAY
def test_a_flow_starts_at_margin_zero_and_stays_finite(make, models, six, every_level, name, settings):
    policy = make(models["epsilon"], latents=choice("flow", name, settings))
    set_schedule(policy, Schedule.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}))
    encoded, draw = policy.encode(six), draw_for(six)
    assert torch.equal(margin(policy, encoded, draw), torch.zeros(6))
    moved = margin(shake(policy), encoded, draw)
    assert moved.isfinite().all() and (moved != 0).sum() >= 5


@EVERY_WAY
def test_an_epsilon_prediction_that_ends_in_pure_noise_is_scored_below_it(make, six, tmp_path, name, settings):
    model = tiny_sd(tmp_path / "model", scheduler={"rescale_betas_zero_snr": True})
    policy = shake(make(model, latents=choice("epsilon", name, settings), timesteps=(997, None)))
    encoded, drawn = policy.encode(six), set()
    for visit in range(3):
        drawn |= set(levels_of(policy, encoded, draw_for(six, visit)))
        assert margin(policy, encoded, draw_for(six, visit)).isfinite().all()
    assert drawn == {997, 998}


@pytest.mark.parametrize("latents", ["forward", {"name": "ddim_inversion", "clean": "alpha0"}])
def test_v_errors_weighted_by_their_factor_are_epsilon_errors(make, models, six, every_level, latents):
    """One network with its output converted: a constant beta on v errors is beta / alpha_bar_t on epsilon errors."""
    policy = shake(make(models["v_prediction"], latents=latents))
    encoded, draw, schedule = policy.encode(six), draw_for(six), policy._denoiser.schedule
    v = [logps.info for logps in (policy.logps(encoded, draw), policy.reference_logps(encoded, draw))]
    family = policy._frozen.family

    def epsilon_of_v(network, x_t, time, conditioning, dtype):
        return schedule.to_epsilon(family.call(network, x_t, time, conditioning, dtype), x_t, time)

    policy._policy_and_reference._family = replace(family, call=epsilon_of_v)
    policy._policy_and_reference._noisy_inputs = policy._policy_and_reference._make_noisy_inputs()
    set_schedule(policy, replace(schedule, prediction="epsilon"))
    epsilon = [logps.info for logps in (policy.logps(encoded, draw), policy.reference_logps(encoded, draw))]
    factor = schedule.error_factor(torch.tensor(LEVELS)).float()
    assert factor.max() > 100
    for one, other in zip(v, epsilon, strict=True):
        for name in ("chosen_error", "rejected_error"):
            torch.testing.assert_close(one[name], factor * other[name], rtol=2e-4, atol=1e-6)


def set_schedule(policy, schedule):
    """Gives the policy another schedule."""
    rules = replace(policy._denoiser, schedule=schedule)
    scoring = policy._policy_and_reference
    policy._denoiser = scoring.denoiser = scoring._noisy_inputs.denoiser = rules

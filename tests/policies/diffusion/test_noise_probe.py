"""Probes of a denoiser: what they measure is what the formulas say, and they leave a policy as it was."""

from dataclasses import replace

import pytest
import torch

from diffalign.named_choice import Choice
from diffalign.policies.diffusion.sampling.initial_noise import initial_noise
from diffalign.policies.latent_noise import LatentNoise, SeedCosine
from tests.policies.conftest import draw_for, shake, spied
from tests.tiny import tiny_sd

INVERSION = {"name": "ddim_inversion", "steps": 4}
ELEMENTS = 4 * 8 * 8


def constant_network(policy, value):
    """Makes the network predict the same number everywhere."""
    last = policy.module.conv_out
    for name, parameter in last.named_parameters():
        parameter.data.fill_(value if name.endswith("bias") else 0.0)
    return policy


def with_seeds(pairs):
    return [
        replace(pair, scores={"chosen": {"seed": 2.0 * i}, "rejected": {"seed": 2.0 * i + 1}})
        for i, pair in enumerate(pairs)
    ]


def test_plain_noise_has_an_rms_of_one_at_every_level(make, pairs):
    noise = make().latent_noise(pairs)
    assert list(noise.rms) == [125, 375, 625, 875] and noise.forwards == 0
    # the rms of n numbers has a standard deviation of 1 / sqrt(2 n); a pair shares its noise, and so do all levels
    assert all(abs(rms - 1.0) < 4 / (2 * ELEMENTS * len(pairs)) ** 0.5 for rms in noise.rms.values())
    assert noise.warning() == ""


@pytest.mark.parametrize("name", ["ddim_inversion", "renoise", "heun"])
def test_an_inversion_with_a_network_that_predicts_one_number_has_that_rms(make, pairs, name):
    """tau is an average of the network's predictions, so it is 0.5 everywhere, in one step and in many."""
    policy = constant_network(make(latents={"name": name}), 0.5)
    for latents in (None, Choice(name=name, steps=1), Choice(name=name, steps=30, spacing=2.0)):
        noise = policy.latent_noise(pairs, latents)
        assert list(noise.rms.values()) == pytest.approx([0.5] * 4, abs=1e-5)
    assert f"the latents of {name} (steps 30, spacing 2.0) hold less noise" in noise.warning()
    assert "rms 0.50 at level" in noise.warning() and "unit_noise: fill" in noise.warning()


def test_in_one_step_tau_is_the_networks_prediction_at_the_clean_latent(make, pairs):
    policy = shake(make(latents={**INVERSION, "steps": 1}, flip="none", caption_dropout=0.0))
    encoded = policy.encode(pairs)
    draw = draw_for(pairs, visit=-1)
    clean, condition = (getattr(policy._denoiser, name)(encoded, draw) for name in ("clean", "condition"))
    with torch.no_grad():
        output = policy._policy_and_reference.probe(clean, torch.zeros(len(clean), dtype=torch.long), condition)
    expected = output.flatten(1).square().mean(1).sqrt().mean()
    assert list(policy.latent_noise(pairs).rms.values()) == pytest.approx([float(expected)] * 4, rel=1e-5)


def test_a_mended_inversion_has_an_rms_near_one(make, pairs):
    policy = constant_network(make(latents=INVERSION), 0.5)
    assert policy.latent_noise(pairs, Choice(unit_noise="rescale", **INVERSION)).warning() == ""
    assert policy.latent_noise(pairs, Choice(unit_noise="fill", **INVERSION)).warning() == ""


def test_listed_levels_are_probed_where_a_run_draws_no_others(make, pairs):
    noise = make(latents=INVERSION, timesteps=(249, 499, 749)).latent_noise(pairs)
    assert set(noise.rms) == {249, 499, 749}
    assert list(make(latents=INVERSION, timesteps=(500, 600)).latent_noise(pairs).rms) == [512, 537, 562, 587]


def test_the_noise_of_a_seed_is_the_one_that_a_sampler_begins_with(make):
    policy = make()
    with spied(policy.module) as calls:
        policy.sample(["a fox", "an owl"], [7, 8], steps=2, guidance=1.0, sampler="ddim")
    expected = torch.stack([initial_noise(seed, (4, 8, 8)) for seed in (7, 8)])
    assert torch.equal(calls[0][0], expected)


def test_the_cosine_is_one_where_the_network_predicts_the_noise_of_the_seed(make, pairs, monkeypatch):
    """With a seed's noise as the prediction the inversion returns it; with other noise its cosine is chance."""
    policy = make(latents=INVERSION, flip="none")
    pairs = with_seeds(pairs)
    seeds = torch.stack([initial_noise(seed, (4, 8, 8)) for seed in (0, 2, 4, 6, 1, 3, 5, 7)])
    for made, expected in ((seeds, 1.0), (seeds.flip(0), 0.0)):
        monkeypatch.setattr(policy._policy_and_reference, "probe", lambda x, time, condition, made=made: 0.6 * made)
        cosine = policy.latent_noise(pairs).cosine
        assert (cosine.level, cosine.candidates, cosine.elements) == (999, 8, ELEMENTS)
        assert cosine.value == pytest.approx(expected, abs=1e-4 if expected else 4 / (8 * ELEMENTS) ** 0.5)
        assert cosine.by_chance == (not expected)
    assert "no likeness" in str(cosine)


def test_forward_latents_find_no_seed_again_and_pairs_without_seeds_have_no_cosine(make, pairs):
    policy = make(latents=INVERSION)
    assert policy.latent_noise(pairs).cosine is None
    assert policy.latent_noise(with_seeds(pairs), Choice(name="forward")).cosine.by_chance


def test_a_fixed_level_costs_the_forward_passes_of_its_inversion(make, pairs):
    policy = make(latents=INVERSION)
    # levels 125, 375, 625, 875 take 1, 2, 3 and 4 of 4 steps; the seeds' level 999 takes 4
    assert policy.latent_noise(pairs).forwards == 10 * 2 * len(pairs)
    assert policy.latent_noise(with_seeds(pairs)).forwards == 14 * 2 * len(pairs)
    before = policy.forward_counts.probe
    policy.forward_errors(pairs)
    assert policy.forward_counts.probe - before == 2 * 2 * len(pairs)


def test_a_probe_gives_the_same_numbers_again_and_in_any_batch_and_moves_nothing(make, pairs):
    policy = shake(make(latents=INVERSION))
    encoded, draw = policy.encode(pairs), draw_for(pairs)
    logps, state = policy.logps(encoded, draw).candidates[0].logps, policy.state()
    random = torch.random.get_rng_state()
    noise, error = policy.latent_noise(with_seeds(pairs)), policy.forward_errors(pairs)
    again = policy.latent_noise(with_seeds(pairs), batch=1), policy.forward_errors(pairs, batch=3)
    assert again[0].rms == pytest.approx(noise.rms, rel=1e-5) and again[1] == pytest.approx(error, rel=1e-5)
    assert policy.forward_errors(pairs) == error
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.equal(policy.logps(encoded, draw).candidates[0].logps, logps)
    assert all(torch.equal(value, state[name]) for name, value in policy.state().items())
    assert all(parameter.grad is None for parameter in policy.trainable().values())


def test_the_error_under_forward_noising_of_a_network_that_predicts_nothing_is_that_of_the_noise(make, pairs):
    policy = constant_network(make(latents=INVERSION), 0.0)
    assert policy.forward_errors(pairs) == pytest.approx([1.0] * len(pairs), abs=4 * (2 / (2 * ELEMENTS)) ** 0.5)


def test_a_pure_noise_level_is_left_out(tmp_path, pairs, make):
    zero = tiny_sd(tmp_path / "zero", scheduler={"rescale_betas_zero_snr": True})
    noise = make(zero, latents=INVERSION).latent_noise(with_seeds(pairs))
    assert noise.cosine.level == 998


def test_the_summary_names_levels_seeds_and_cost():
    noise = LatentNoise("renoise", {125: 0.5, 875: 0.9}, 4, 512, SeedCosine(0.41, 999, 8, 1024))
    assert noise.summary() == (
        "rms by level 0.50 at 125, 0.90 at 875, where noise has 1; cosine 0.41 with the noise of 8 seeds, at level 999 "
        "(4 pairs, 512 forward passes)"
    )
    assert "rms 0.50 at level 125" in noise.warning()

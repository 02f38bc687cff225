"""A denoiser's log-probabilities: against ten plain lines, and the laws of a pair."""

import dataclasses

import pytest
import torch

from diffalign.latents import LATENTS
from diffalign.latents.schedule import Schedule
from diffalign.policies.diffusion.families.family import LatentScale
from diffalign.policies.diffusion.scoring.denoiser_scoring import Denoiser, EncodedCandidates
from diffalign.randomness import Draw
from tests.tiny import SCHEDULER

SCHEDULE = Schedule.from_config(SCHEDULER)
IMAGE, VIDEO = (4, 8, 8), (4, 3, 8, 8)


def encoded(count, shape=IMAGE, views=1, seed=0, std=0.3):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(count, 2, views, *shape, generator=generator)
    states = torch.randn(count, 5, 16, generator=generator)
    empty = {"encoder_hidden_states": torch.zeros(1, 5, 16)}
    keys = tuple(str(i) for i in range(count))
    return EncodedCandidates(keys, mean, torch.full_like(mean, std), {"encoder_hidden_states": states}, empty)


def draw(count, visit=0):
    return Draw(3, tuple(f"id{i}" for i in range(count)), (visit,) * count)


def network(x_t, time, conditioning):
    """Returns a made-up prediction that depends on latent, time and prompt."""
    prompt = conditioning["encoder_hidden_states"].mean((1, 2)).view(-1, *[1] * (x_t.ndim - 1))
    return 0.7 * x_t + prompt + (time / 1000).view(-1, *[1] * (x_t.ndim - 1)).to(x_t)


def logps_of(rules, batch, random):
    inputs = rules.build_inputs(batch, random, network)
    return rules.logps(network(inputs.x_t, inputs.time, inputs.conditioning), inputs)


def rules(**changes):
    settings = {"caption_dropout": 0.0, "flip": "none", "scale": LatentScale(factor=0.18215), **changes}
    return Denoiser(SCHEDULE, LATENTS["forward"].bind(), **settings)


@pytest.mark.parametrize("shape", [IMAGE, VIDEO], ids=["image", "video"])
def test_log_probabilities_equal_ten_plain_lines(shape):
    batch, random = encoded(3, shape), draw(3)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alpha_bar = torch.cumprod(1 - betas, 0)
    t, eps = random.integers("timestep", 0, 1000), random.normal("noise", shape).double()
    expected = []
    for i, role in enumerate(("chosen", "rejected")):
        posterior = random.normal(f"posterior:{role}", shape).double()
        x0 = 0.18215 * (batch.mean[:, i, 0].double() + 0.3 * posterior)
        ab = alpha_bar[t].view(-1, *[1] * len(shape))
        x_t = ab.sqrt() * x0 + (1 - ab).sqrt() * eps
        out = network(x_t, t, batch.conditioning)
        expected.append(-0.5 * ((out - eps) ** 2).flatten(1).mean(1))
    result = logps_of(rules(), batch, random)
    for candidate, logps in zip(result.candidates, expected, strict=True):
        assert candidate.logps.dtype == torch.float32
        torch.testing.assert_close(candidate.logps.double(), logps, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(result.info["level"], t / 1000)


def test_equal_candidates_have_margin_exactly_zero():
    """Level and noise are shared, and the posterior has no spread."""
    batch = encoded(4, std=0.0)
    batch = dataclasses.replace(batch, mean=batch.mean[:, :1].expand(-1, 2, -1, -1, -1, -1))
    chosen, rejected = (candidate.logps for candidate in logps_of(rules(), batch, draw(4)).candidates)
    assert torch.equal(chosen, rejected)


def test_four_pairs_at_once_equal_four_times_one():
    batch, random = encoded(4, views=2), draw(4)
    settings = rules(flip="joint", caption_dropout=0.5)
    together = logps_of(settings, batch, random).candidates[0].logps
    for i in range(4):
        one = EncodedCandidates(
            batch.keys[i : i + 1],
            batch.mean[i : i + 1],
            batch.std[i : i + 1],
            {name: value[i : i + 1] for name, value in batch.conditioning.items()},
            batch.empty,
        )
        single = logps_of(settings, one, Draw(3, random.ids[i : i + 1], (0,))).candidates[0].logps
        torch.testing.assert_close(single, together[i : i + 1], rtol=1e-6, atol=1e-7)


def test_both_candidates_of_a_pair_lose_their_prompt_together():
    settings = rules(caption_dropout=0.5)
    states = settings.condition(encoded(200), draw(200))["encoder_hidden_states"]
    chosen, rejected = states.chunk(2)
    assert torch.equal(chosen, rejected)
    share = (chosen.abs().sum((1, 2)) == 0).float().mean()
    assert 0.4 < share < 0.6


@pytest.mark.parametrize(("flip", "alike"), [("joint", True), ("independent", False)])
def test_mirroring_is_drawn_once_per_pair_unless_it_is_independent(flip, alike):
    batch = encoded(64, views=2, std=0.0)
    mean = torch.zeros_like(batch.mean)
    mean[:, :, 1] = 1.0  # the mirrored view
    batch = dataclasses.replace(batch, mean=mean)
    chosen, rejected = (
        part.flatten(1)[:, 0] for part in rules(flip=flip, scale=LatentScale()).clean(batch, draw(64)).chunk(2)
    )
    assert torch.equal(chosen, rejected) == alike
    assert 0.25 < chosen.mean() < 0.75 and 0.25 < rejected.mean() < 0.75


def test_errors_of_half_precision_outputs_are_taken_in_float32():
    batch, random = encoded(2), draw(2)
    inputs = rules().build_inputs(batch, random, network)
    output = inputs.target.bfloat16()
    error = rules().logps(output, inputs).info["chosen_error"]
    expected = ((output.float() - inputs.target) ** 2).flatten(1).mean(1)[:2]
    assert torch.equal(error, expected) and (error > 0).all()

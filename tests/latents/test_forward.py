"""Forward noising: the latent of a candidate, its level, and the consequences for a pair."""

import pytest
import torch

from diffalign.latents import LATENTS, Draw, Schedule, forward_noising, mean_squared_error, timesteps
from diffalign.losses import LOSSES
from tests.latents.plain import SD, never
from tests.losses.logps import from_errors

F64 = torch.float64
DRAW = Draw(0, tuple(map(str, range(3000))), (0,) * 3000)


def _schedule(prediction="epsilon"):
    return Schedule.from_config({**SD, "prediction_type": prediction})


def _pair(count=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, 4, 3, 3, generator=generator, dtype=F64) for _ in range(3)]


def _network(weight):
    """A toy network: the same arithmetic for both candidates, a policy and a reference by their weight."""
    return lambda x_t: weight * x_t.roll(1, dims=-1) - 0.3 * x_t**2


def _scores(schedule, t, policy=0.9, reference=0.5):
    chosen, rejected, noise = _pair(len(t))
    errors = []
    for weight in (policy, reference):
        for x0 in (chosen, rejected):
            latent = forward_noising(x0, t, noise, schedule)
            errors.append(mean_squared_error(_network(weight)(latent.x_t), latent.target))
    return from_errors(*errors)


def test_a_latent_is_signal_and_noise_in_the_proportion_of_its_level():
    schedule, (x0, _, noise) = _schedule(), _pair()
    t = torch.tensor([0, 100, 401, 999])
    latent = LATENTS["forward"].bind()(x0, t, schedule, noise=lambda purpose, shared: noise, predict=never)
    alpha_bar = schedule.alphas_cumprod[t].reshape(-1, 1, 1, 1)
    torch.testing.assert_close(latent.x_t, alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise)
    assert torch.equal(latent.target, noise) and torch.equal(latent.t, t)


def test_at_pure_noise_an_epsilon_pair_has_margin_zero_for_every_policy():
    t = torch.full((4,), 999)
    assert torch.equal(_scores(_schedule().zero_terminal(), t).margin, torch.zeros(4, dtype=F64))
    assert (_scores(_schedule(), t).margin != 0).all()  # the published schedule stops short of it


def test_at_pure_noise_a_v_pair_has_a_margin():
    # The input is the same, the target is not: v = -x0 there.
    assert (_scores(_schedule("v_prediction").zero_terminal(), torch.full((4,), 999)).margin != 0).all()


def test_a_constant_beta_on_v_errors_is_beta_over_alpha_bar_on_epsilon_errors():
    chosen, rejected, noise = _pair()
    t, beta = torch.tensor([5, 100, 401, 801]), 200.0
    by_v, by_epsilon = _schedule("v_prediction"), _schedule("epsilon")
    v_errors, epsilon_errors = [], []
    for weight in (0.9, 0.5):
        for x0 in (chosen, rejected):
            latent = forward_noising(x0, t, noise, by_v)
            out = _network(weight)(latent.x_t)
            v_errors.append(mean_squared_error(out, latent.target))
            epsilon = by_v.to_epsilon(out, latent.x_t, t)
            epsilon_errors.append(mean_squared_error(epsilon, by_epsilon.target(x0, noise, t)))
    loss = LOSSES["logistic"].bind(beta=beta)
    per_sample = [loss.loss.bind(beta=beta / float(ab)) for ab in by_v.alphas_cumprod[t]]
    one = loss(from_errors(*v_errors))
    other = torch.cat([b(from_errors(*(e[i : i + 1] for e in epsilon_errors))) for i, b in enumerate(per_sample)])
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_levels_are_drawn_evenly_from_their_range():
    t = timesteps(DRAW, _schedule())
    assert t.dtype == torch.long and t.min() >= 0 and t.max() <= 999
    counts = torch.bincount(t // 100, minlength=10).double()
    assert ((counts - 300) ** 2 / 300).sum() < 33.7  # chi-square with 9 degrees of freedom, p = 1e-4
    few = timesteps(DRAW, _schedule(), low=200, high=203)
    assert few.unique().tolist() == [200, 201, 202]


def test_the_level_without_a_margin_is_not_drawn():
    short = Schedule(torch.tensor([0.9, 0.5, 0.0]), "epsilon")
    assert short.informative == 2 and timesteps(DRAW, short).unique().tolist() == [0, 1]
    assert timesteps(DRAW, Schedule(short.alphas_cumprod, "v_prediction")).unique().tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="level 2 of this schedule is pure noise.*Use at most 2"):
        timesteps(DRAW, short, high=3)


@pytest.mark.parametrize("low, high", [(5, 5), (-1, 10), (0, 1001), (7, 3)])
def test_a_range_outside_the_schedule_is_refused(low, high):
    with pytest.raises(ValueError, match="levels run from 0 to 999"):
        timesteps(DRAW, _schedule(), low, high)


def test_listed_levels_are_drawn_in_proportion_to_how_often_they_are_listed():
    t = timesteps(DRAW, _schedule(), listed=(249, 499, 749, 749))
    shares = [(t == level).double().mean().item() for level in (249, 499, 749)]
    assert set(t.tolist()) == {249, 499, 749}
    assert shares == pytest.approx([0.25, 0.25, 0.5], abs=0.03)


@pytest.mark.parametrize("listed", [(0, 5, 1000), (-1, 3, 7)])
def test_listed_levels_outside_the_schedule_are_refused(listed):
    with pytest.raises(ValueError, match="levels run from 0 to 999"):
        timesteps(DRAW, _schedule(), listed=listed)

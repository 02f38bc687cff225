"""Options against the noise that inverted latents lack: a forward start, short first steps, tau of unit rms."""

import math

import pytest
import torch

from diffalign.latents import LATENTS, ddim_inversion, exact_path, exact_steps, forward_noising, renoise
from diffalign.latents.unit_noise import rms, to_unit_noise
from tests.latents.plain import F64, Toy, invert_one, latents, never, schedule_of

LEVELS = torch.tensor([3, 60, 61, 401, 700, 950])
INVERTIBLE = ["epsilon", "v_prediction", "flow"]
WITH_NETWORK = [name for name, row in LATENTS.items() if row.needs_network]


def _noises(x0):
    named = {"noise": latents(*x0.shape, seed=3), "unit_noise": latents(*x0.shape, seed=4)}
    return lambda purpose, shared: named[purpose] if shared else never()


def _tau(latent, x0, schedule):
    a, s = schedule.signal_noise(latent.t, x0)
    return (latent.x_t - a * x0) / s


@pytest.mark.parametrize("name", WITH_NETWORK)
@pytest.mark.parametrize("prediction", INVERTIBLE)
def test_up_to_the_start_latents_are_those_of_forward_noising_bit_for_bit(name, prediction):
    schedule, x0 = schedule_of(prediction), latents(6, 2, 4, 4)
    network = Toy(schedule, 0.6)
    found = LATENTS[name].bind(start=60)(x0, LEVELS, schedule, noise=_noises(x0), predict=network)
    plain = forward_noising(x0, LEVELS, _noises(x0)("noise", True), schedule)
    assert torch.equal(found.x_t[:2], plain.x_t[:2]) and torch.equal(found.target[:2], plain.target[:2])
    assert not torch.isclose(found.x_t[2:], plain.x_t[2:]).all()
    assert all(row > 1 for _, _, rows in network.calls for row in rows)


def test_a_start_at_the_last_level_is_diffusion_dpo_and_asks_no_network():
    schedule, x0 = schedule_of(), latents(6, 2, 4, 4)
    found = ddim_inversion(x0, LEVELS, schedule, noise=_noises(x0), predict=never, start=999)
    assert torch.equal(found.x_t, forward_noising(x0, LEVELS, _noises(x0)("noise", True), schedule).x_t)


@pytest.mark.parametrize("prediction", INVERTIBLE)
@pytest.mark.parametrize("settings", [{}, {"spacing": 2.0}, {"corrections": 2}])
def test_above_the_start_the_path_is_the_textbook_loop_from_the_forward_latent(prediction, settings):
    schedule, x0 = schedule_of(prediction), latents(6, 2, 4, 4)
    found = renoise(
        x0, LEVELS, schedule, noise=_noises(x0), predict=Toy(schedule, 0.6), start=60, **{"corrections": 0, **settings}
    )
    forward = forward_noising(x0, torch.full((6,), 60), _noises(x0)("noise", True), schedule).x_t
    for b, t in list(enumerate(LEVELS.tolist()))[2:]:
        n = max(1, math.ceil(10 * (t - 60) / 1000))
        levels = [round(60 + (t - 60) * (k / n) ** settings.get("spacing", 1.0)) for k in range(n + 1)]
        corrections = settings.get("corrections", 0)
        expected = invert_one(forward[b : b + 1], levels, schedule, Toy(schedule, 0.6), corrections=corrections)
        torch.testing.assert_close(found.x_t[b : b + 1], expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("start", [-1, 0, 60])
@pytest.mark.parametrize("spacing", [1.0, 1.5, 2.0, 3.0, 9.0])
def test_every_path_rises_from_its_start_to_exactly_the_level(start, spacing):
    t = torch.arange(1000)
    for most in (1, 7, 10, 100):
        n = exact_steps(t, most, 1000, start)
        path = exact_path(t, n, start=start, spacing=spacing)
        assert torch.equal(path.reached, t)
        moves = path.levels.diff(dim=1)
        taken = torch.arange(moves.shape[1]) < n[:, None]
        assert (moves[taken] > 0).all() and (moves[~taken] == 0).all()
        assert torch.equal(n > 0, t > start)
        assert (path.levels[t > start, 0] == start).all()


def test_a_larger_spacing_makes_the_first_steps_shorter():
    path = [exact_path(torch.tensor([999]), torch.tensor([10]), spacing=rho).levels[0] for rho in (1.0, 2.0)]
    assert path[0].tolist() == [-1, *range(99, 1000, 100)]
    assert path[1].tolist() == [-1, 9, 39, 89, 159, 249, 359, 489, 639, 809, 999]


def test_short_first_steps_bring_tau_nearer_to_the_continuous_path():
    schedule, x0, t = schedule_of(), latents(64, 1, 4, 4), torch.full((64,), 600)

    def tau(**settings):
        found = ddim_inversion(x0, t, schedule, noise=never, predict=Toy(schedule, 0.6), **settings)
        return _tau(found, x0, schedule)

    fine = tau(steps=1000)
    even, short = (float((tau(steps=10, spacing=rho) - fine).square().mean()) for rho in (1.0, 2.0))
    assert short < 0.6 * even


@pytest.mark.parametrize("prediction", INVERTIBLE)
def test_rescaled_noise_has_unit_rms_and_the_direction_of_the_inversion(prediction):
    # After a single step a flow's tau is 0: its best network finds no noise in a clean latent.
    schedule, x0, t = schedule_of(prediction), latents(6, 2, 4, 4), torch.tensor([250, 300, 401, 500, 700, 950])
    plain = ddim_inversion(x0, t, schedule, noise=never, predict=Toy(schedule, 0.6))
    found = ddim_inversion(x0, t, schedule, noise=never, predict=Toy(schedule, 0.6), unit_noise="rescale")
    before, after = _tau(plain, x0, schedule), _tau(found, x0, schedule)
    assert not torch.isclose(rms(before), rms(after), rtol=0.05).all()
    torch.testing.assert_close(rms(after), torch.ones(6, dtype=F64))
    cosine = torch.nn.functional.cosine_similarity(before.flatten(1), after.flatten(1))
    torch.testing.assert_close(cosine, torch.ones(6, dtype=F64))
    torch.testing.assert_close(found.target, schedule.target(x0, after, t))


def test_filled_noise_keeps_the_inversion_and_adds_what_is_missing():
    tau, z = 0.5 * latents(4, 4, 32, 32, seed=1), latents(4, 4, 32, 32, seed=4)
    found = to_unit_noise(tau, "fill", lambda purpose, shared: z)
    expected = tau + (1.0 - tau.square().mean((1, 2, 3), keepdim=True)).sqrt() * z
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(rms(found), torch.ones(4, dtype=F64), rtol=0.03, atol=0.0)
    loud = 3.0 * tau
    assert torch.equal(to_unit_noise(loud, "fill", lambda purpose, shared: z), loud)


def test_left_alone_tau_is_returned_as_it_is():
    tau = latents(2, 3)
    assert to_unit_noise(tau, None, never) is tau


@pytest.mark.parametrize("name", WITH_NETWORK)
@pytest.mark.parametrize("settings", [{"start": 60}, {"spacing": 2.0}, {"start": 5, "spacing": 3.0}])
def test_the_claimed_cost_is_the_counted_one(name, settings):
    schedule, x0, network = schedule_of(), latents(6, 2, 4, 4), Toy(schedule_of(), 0.6)
    bound = LATENTS[name].bind(**settings)
    bound(x0, LEVELS, schedule, noise=_noises(x0), predict=network)
    counted = torch.zeros(6, dtype=torch.long)
    for _, _, rows in network.calls:
        counted[rows] += 1
    assert torch.equal(bound.forward_counts(LEVELS, schedule), counted)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"start": -1}, "a whole number from 0 on, or null for the clean latent; got -1"),
        ({"start": 2.5}, "got 2.5"),
        ({"spacing": 0.5}, "a number from 1 on; got 0.5"),
        ({"unit_noise": "more"}, "one of rescale, fill, or null for as it is; got 'more'"),
        ({"mode": "released", "start": 60}, "mode released inverts as the published scripts, which have no start"),
        ({"mode": "released", "spacing": 2.0}, "no spacing"),
        ({"mode": "released", "unit_noise": "fill"}, "no unit_noise"),
        ({"start": 60, "clean": "one"}, "Leave out clean or start"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LATENTS["ddim_inversion"].bind(**settings)


@pytest.mark.parametrize("name", WITH_NETWORK)
def test_neutral_settings_leave_latents_and_their_identity_as_they_were(name):
    row = LATENTS[name]
    assert row.bind(**row.neutral).identity == row.bind().identity
    assert not any(setting in row.bind().identity for setting in row.neutral)
    changed = [row.bind(start=60), row.bind(spacing=2.0), row.bind(unit_noise="fill"), row.bind(unit_noise="rescale")]
    assert len({bound.identity for bound in [row.bind(), *changed]}) == 5

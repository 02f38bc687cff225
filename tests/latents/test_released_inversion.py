"""Released mode: the numbers of the published scripts."""

import math

import pytest
import torch

from diffalign.latents import ddim_inversion, released_path, released_steps, renoise
from diffalign.latents.released_inversion import relabel_level
from tests.latents.plain import F64, Toy, latents, move, never, noise_of, scales, schedule_of

EVERY = torch.arange(1000)

# t, evaluations, level reached, rms that unit noise is treated as; 10 steps, Stable Diffusion's levels
TABLE = [
    (0, 1, 1, "1.42"),
    (1, 1, 1, "1.00"),
    (2, 2, 101, "6.55"),
    (10, 2, 101, "3.38"),
    (50, 2, 101, "1.49"),
    (101, 2, 101, "1.00"),
    (102, 3, 201, "1.53"),
    (202, 4, 301, "1.30"),
    (402, 6, 501, "1.13"),
    (702, 9, 801, "1.03"),
    (802, 10, 901, "1.01"),
    (999, 10, 901, "1.00"),
]


def _mean_squares(t, steps):
    """Returns the mean square that a unit noise, independent of a unit-variance latent, is treated as."""
    reached = released_path(t, steps, 1000).reached
    count = len(t)
    x0 = torch.tensor([2.0**0.5, 0.0], dtype=F64).repeat(count, 1)
    noise = torch.tensor([0.0, 2.0**0.5], dtype=F64).repeat(count, 1)
    return relabel_level(x0, noise, reached, t, schedule_of()).target.square().mean(1)


@pytest.mark.parametrize("t, evaluations, level, rms", TABLE)
def test_the_depths_are_those_of_the_scripts(t, evaluations, level, rms):
    path = released_path(torch.tensor([t]), 10, 1000)
    assert path.steps.tolist() == [evaluations] and path.reached.tolist() == [level]
    assert f"{_mean_squares(torch.tensor([t]), 10).sqrt().item():.2f}" == rms


@pytest.mark.parametrize(
    "steps, times, highest, mean, squares",
    [
        (10, [-99, 1, 101, 201, 301, 401, 501, 601, 701, 801], 901, "6.382", "1.48"),
        (5, [-199, 1, 201, 401, 601], 801, "3.792", "2.2"),
    ],
)
def test_the_grids_are_those_of_the_scripts(steps, times, highest, mean, squares):
    path = released_path(EVERY, steps, 1000)
    assert path.times[999].tolist() == times
    assert path.levels[999].tolist() == [0, *times[1:], highest]
    assert path.reached.max() == highest
    assert f"{path.steps.double().mean():.3f}" == mean
    assert path.steps.tolist() == [max(1, sum(source < t for source in times)) for t in range(1000)]
    assert f"{_mean_squares(EVERY, steps).mean().item():.{len(squares) - 2}f}" == squares
    assert (path.reached == EVERY).sum() == steps  # the level is right for one t in a hundred, or in two hundred


def test_with_five_steps_the_error_is_larger():
    assert f"{_mean_squares(torch.tensor([2]), 5).sqrt().item():.1f}" == "10.2"
    assert (released_path(EVERY, 5, 1000).reached - EVERY).abs().max() == 199


@pytest.mark.parametrize("steps", [501, 1000])
def test_more_steps_than_half_the_levels_are_refused(steps):
    with pytest.raises(ValueError, match="between 1 and 500 steps with 1000 levels"):
        released_path(EVERY, steps, 1000)


def _at_time(toy, x, time):
    """Returns a toy's output, for a negative time that of level 0; a real network would embed the negative time."""
    return toy.output(x, torch.tensor([max(time, 0)]), toy.mean)


@pytest.mark.parametrize("corrected", [False, True])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "flow"])
@pytest.mark.parametrize("t", [0, 2, 150, 950])
def test_a_latent_equals_that_of_the_scripts(corrected, prediction, t):
    schedule, x0 = schedule_of(prediction), latents(1, 2, 3, 3)
    toy, times = Toy(schedule, 0.6, 0.8), []

    def network(x, time, rows):
        times.append(time.item())
        return _at_time(toy, x, time.item())

    x, expected = x0, []
    for k in range(released_steps(torch.tensor([t]), 10, 1000).item()):
        time = 1 + 100 * (k - 1)
        here, there = scales(schedule, max(time, 0)), scales(schedule, time + 100)
        noise = noise_of(schedule, _at_time(toy, x, time), x, here)
        if corrected:
            guess = move(x, noise, here, there)
            noise = (noise + noise_of(schedule, _at_time(toy, guess, time), guess, here)) / 2
        expected += [time] * (1 + corrected)
        x = move(x, noise, here, there)
    a, s = scales(schedule, t)
    function, more = (renoise, {}) if corrected else (ddim_inversion, {"eta": 0.0})
    found = function(x0, torch.tensor([t]), schedule, noise=never, predict=network, mode="released", **more)
    assert times == expected and found.t.tolist() == [t]
    torch.testing.assert_close(found.x_t, x, rtol=1e-11, atol=1e-11)
    tau = (x - a * x0) / s
    target = {"epsilon": tau, "v_prediction": a * tau - s * x0, "flow": tau - x0}[prediction]
    torch.testing.assert_close(found.target, target, rtol=1e-9, atol=1e-9)


def test_the_modes_own_values_can_be_replaced():
    schedule, x0, t = schedule_of(), latents(1, 2, 3, 3), torch.tensor([150])
    toy = Toy(schedule, 0.6, 0.8)
    network = lambda x, time, rows: _at_time(toy, x, time.item())
    default = renoise(x0, t, schedule, noise=never, predict=network, mode="released")
    for setting in ({"average": False}, {"clean": "one"}, {"corrections": 2}, {"steps": 5}):
        other = renoise(x0, t, schedule, noise=never, predict=network, mode="released", **setting)
        assert not torch.equal(other.x_t, default.x_t)
    same = renoise(x0, t, schedule, noise=never, predict=network, mode="released", average=True, clean="alpha0")
    assert torch.equal(same.x_t, default.x_t)


def test_the_scripts_gain_nothing_by_their_correction():
    # Evaluated at the source time the way back is no better; at the target time it is.
    schedule, x0, t = schedule_of(), torch.ones(1, 1, dtype=F64), torch.tensor([901])
    levels, toy = released_path(t, 10, 1000).levels[0].tolist(), Toy(schedule)
    errors = {}
    for name, corrections, average in (("plain", 0, True), ("released", 1, True)):
        network = lambda x, time, rows: _at_time(toy, x, time.item())
        options = {"corrections": corrections, "average": average, "mode": "released"}
        x = renoise(x0, t, schedule, noise=never, predict=network, **options).x_t
        for p, q in zip(levels[-2::-1], levels[:0:-1], strict=True):
            x = move(x, _at_time(toy, x, q), scales(schedule, q), scales(schedule, p))
        errors[name] = abs(x.item() - 1)
    assert errors["released"] > 0.95 * errors["plain"] and not math.isclose(errors["released"], 0.0, abs_tol=0.1)

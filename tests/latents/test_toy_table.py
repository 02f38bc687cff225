"""The accuracy of each scheme on data from one normal distribution, where the exact path is known.

For data ``N(0, std^2)`` the path from ``x0`` leads to ``x0 sqrt(alpha_bar std^2 + 1 - alpha_bar) / std``. The
numbers are relative errors from an independent computation in float64, to two digits: of the latent against that path,
and of the clean latent after sampling back down the same levels. The network takes level CLEAN as without noise.
"""

import pytest
import torch

from diffalign.latents import InversionPath, exact_path, invert
from tests.latents.plain import F64, Toy, grid, sample_one, schedule_of

SOURCE, TARGET_TIME = {}, {"shown": 1}
RELEASED = {"corrections": 1, "average": True, "correct_at": "source"}
HEUN = {"corrections": 1, "average": True}
TABLE = [
    (1.0, 500, 10, SOURCE, 5.8e-2, 1.1e-1),
    (1.0, 500, 50, SOURCE, 1.3e-2, 2.7e-2),
    (1.0, 999, 10, SOURCE, 1.3e-1, 2.5e-1),
    (1.0, 999, 10, RELEASED, 1.4e-1, 2.5e-1),
    (1.0, 999, 10, TARGET_TIME, 1.3e-1, 2.2e-2),
    (1.0, 999, 10, {"corrections": 1}, 1.0e-1, 4.2e-2),
    (1.0, 999, 10, {"corrections": 5}, 1.5e-1, 1.8e-4),
    (1.0, 999, 10, {"corrections": 50}, 1.5e-1, 0.0),
    (1.0, 999, 10, HEUN, 2.0e-2, 1.5e-1),
    (0.5, 999, 10, SOURCE, 2.3e-1, 4.1e-1),
    (0.5, 999, 10, {"corrections": 1}, 1.3e-1, 1.3e-1),
    (0.5, 999, 10, HEUN, 5.9e-2, 2.8e-1),
    (0.5, 999, 1000, SOURCE, 4.4e-3, 8.8e-3),
    pytest.param(0.5, 999, 1000, {"corrections": 5}, 4.4e-3, 0.0, marks=pytest.mark.long),
]


def _errors(std, t, n, shown=0, **how):
    schedule, x0 = schedule_of(), torch.ones(1, 1, dtype=F64)
    toy, level = Toy(schedule, std), torch.tensor([t])
    path = exact_path(level, torch.tensor([n]))
    path = InversionPath(path.levels, path.steps, path.levels[:, shown : n + shown])
    x_t = schedule.add_noise(x0, invert(x0, path, schedule, toy, **how), level)
    alpha_bar = schedule.alphas_cumprod[t]
    exact = (alpha_bar * std**2 + 1 - alpha_bar).sqrt() / std
    back = sample_one(x_t, grid(t, n), schedule, toy)
    return abs(x_t / exact - 1).item(), abs(back - 1).item()


@pytest.mark.parametrize("std, t, n, how, error, round_trip", TABLE)
def test_the_errors_are_the_tabulated_ones(std, t, n, how, error, round_trip):
    found, back = _errors(std, t, n, **how)
    assert f"{found:.1e}" == f"{error:.1e}"
    assert back < 1e-14 if round_trip == 0.0 else f"{back:.1e}" == f"{round_trip:.1e}"


@pytest.mark.parametrize("how, low, high", [(SOURCE, 1.7, 2.2), (HEUN, 3.6, 4.2)])
def test_half_the_step_is_half_the_error_and_a_quarter_for_heun(how, low, high):
    errors = [_errors(1.0, 500, n, **how)[0] for n in (10, 20, 40, 80)]
    assert all(low < one / other < high for one, other in zip(errors[:-1], errors[1:], strict=True))


@pytest.mark.parametrize("t", [50, 401, 999])
def test_for_unit_variance_data_the_latent_stays_constant(t):
    # x_t = x0 at every level, so tau = x0 (1 - a) / s.
    schedule, x0 = schedule_of(), torch.ones(1, 1, dtype=F64)
    level = torch.tensor([t])
    tau = invert(x0, exact_path(level, level + 1), schedule, Toy(schedule))
    a, s = schedule.scales(level)
    assert tau.item() == pytest.approx(((1 - a) / s).item(), abs=0.02)

"""Added noise: its strength, its steps, and whether the two candidates share it."""

import math

import pytest
import torch

from diffalign.latents import ddim_inversion
from tests.latents.plain import F64, Constant, Toy, grid, invert_one, latents, never, schedule_of


class Recorded:
    """A source of noise that records its calls: independent rows, or one noise per pair of rows."""

    def __init__(self, count):
        self.count, self.calls = count, []

    def __call__(self, purpose, shared):
        self.calls.append((purpose, shared))
        noise = latents(self.count, 2, 3, 3, dtype=torch.float32, seed=hash_of(purpose))
        return torch.cat([noise[: self.count // 2]] * 2) if shared else noise


def hash_of(purpose):
    """Returns a seed from a purpose, the same in every process."""
    return int.from_bytes(purpose.encode(), "little") % 2**31


def test_the_noise_added_has_the_strength_of_ddim():
    schedule, x0 = schedule_of(), latents(2, 2, 3, 3)
    noise, toy, t, levels = Recorded(2), Toy(schedule, 0.6, 0.8), 873, grid(873, 9)
    found = ddim_inversion(x0, torch.tensor([t, t]), schedule, noise=noise, predict=toy, eta=0.3)
    for b in (0, 1):
        z = [Recorded(2)(f"inversion:{k}", False)[b : b + 1].double() for k in range(9)]
        expected = invert_one(x0[b : b + 1], levels, schedule, Toy(schedule, 0.6, 0.8), eta=0.3, z=z)
        torch.testing.assert_close(found.x_t[b : b + 1], expected, rtol=1e-10, atol=1e-11)
    a, s = schedule.signal_noise(torch.tensor([t, t]), x0)
    torch.testing.assert_close(
        a * x0 + s * found.target, found.x_t, rtol=1e-12, atol=1e-12
    )  # the target includes the added noise


def test_nothing_is_added_to_the_first_step_from_the_clean_latent():
    schedule, x0, t = schedule_of(), latents(2, 2, 3, 3), torch.tensor([99, 50])
    one_step = ddim_inversion(x0, t, schedule, noise=never, predict=Toy(schedule), eta=5.0)
    assert torch.equal(one_step.x_t, ddim_inversion(x0, t, schedule, noise=never, predict=Toy(schedule)).x_t)
    noise = Recorded(2)
    ddim_inversion(x0, torch.tensor([299, 299]), schedule, noise=noise, predict=Toy(schedule), eta=0.1)
    assert noise.calls == [("inversion:1", False), ("inversion:2", False)]


@pytest.mark.parametrize("shared", [False, True])
def test_candidates_share_the_added_noise_only_when_it_is_set(shared):
    schedule, x0 = schedule_of(), torch.zeros(2, 2, 3, 3, dtype=F64)
    noise, same = Recorded(2), Constant(latents(1, 2, 3, 3).repeat(2, 1, 1, 1))
    options = {"noise": noise, "predict": same, "eta": 0.2, "shared_noise": shared}
    found = ddim_inversion(x0, torch.tensor([700, 700]), schedule, **options).x_t
    assert torch.equal(found[0], found[1]) is shared
    assert {is_shared for _, is_shared in noise.calls} == {shared}


def test_the_released_scripts_add_a_tenth_at_every_step():
    schedule, x0, t = schedule_of(), latents(2, 2, 3, 3), torch.tensor([150, 150])
    options = {"predict": Toy(schedule), "mode": "released"}
    noise = Recorded(2)
    found = ddim_inversion(x0, t, schedule, noise=noise, **options).x_t
    assert noise.calls == [(f"inversion:{k}", False) for k in range(3)]
    assert torch.equal(found, ddim_inversion(x0, t, schedule, noise=Recorded(2), eta=0.1, **options).x_t)
    without = ddim_inversion(x0, t, schedule, noise=never, eta=0.0, **options).x_t
    assert 0 < (found - without).abs().max() < 0.2


def test_on_a_flow_the_noise_added_is_that_of_the_reverse_step():
    # In general the reverse step from q to p has variance (s_p / s_q)^2 (s_q^2 - (a_q s_p / a_p)^2).
    schedule, x0 = schedule_of("flow"), torch.zeros(2, 2, 3, 3, dtype=F64)
    t, noise = torch.tensor([199, 199]), Recorded(2)
    zero = lambda x, level, rows: -x / schedule.signal_noise(level.clamp(min=0), x)[0]  # noise = x + a out = 0
    found = ddim_inversion(x0, t, schedule, noise=noise, predict=zero, eta=1.0).x_t
    (a_p, a_q), (s_p, s_q) = (values.tolist() for values in schedule.scales(torch.tensor([99, 199])))
    std = s_p / s_q * math.sqrt(s_q**2 - (a_q * s_p / a_p) ** 2)
    torch.testing.assert_close(found, std * Recorded(2)("inversion:1", False).double(), rtol=1e-12, atol=1e-12)

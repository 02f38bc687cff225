"""Inversion: the averaging identity, its closed forms, and rows of different depths in one batch."""

import math

import pytest
import torch

from diffalign.latents import Schedule, ddim_inversion, exact_path, exact_steps, heun, invert, renoise
from tests.latents.plain import F64, Constant, Toy, grid, invert_one, latents, never, sample_one, schedule_of

LEVELS = torch.tensor([0, 3, 57, 401, 700, 950])
INVERTIBLE = ["epsilon", "v_prediction", "flow"]


def _ddim(x0, t, schedule, predict, **settings):
    return ddim_inversion(x0, t, schedule, noise=never, predict=predict, **settings)


def _tau(latent, x0, schedule):
    a, s = schedule.signal_noise(latent.t, x0)
    return (latent.x_t - a * x0) / s


def test_a_path_runs_evenly_from_clean_to_exactly_the_level():
    t = torch.arange(1000)
    path = exact_path(t, exact_steps(t, 10, 1000))
    assert torch.equal(path.reached, t)
    assert (path.levels[:, 0] == -1).all() and (path.times[:, 0] == 0).all()
    for level in (0, 1, 99, 100, 555, 999):
        n = max(1, math.ceil(10 * (level + 1) / 1000))
        assert path.steps[level] == n and path.levels[level, : n + 1].tolist() == grid(level, n)
        assert path.times[level, :n].tolist() == [max(p, 0) for p in grid(level, n)[:-1]]
        assert path.levels[level].diff()[:n].min() > 0
    assert path.steps.double().mean() == 5.5


@pytest.mark.parametrize("t, n", [([5], [0]), ([5], [7]), ([-1], [1])])
def test_a_path_that_would_repeat_a_level_is_refused(t, n):
    with pytest.raises(ValueError, match="between 1 and t \\+ 1 steps"):
        exact_path(torch.tensor(t), torch.tensor(n))


@pytest.mark.parametrize("prediction", INVERTIBLE)
@pytest.mark.parametrize("how", [{}, {"corrections": 1}, {"corrections": 3}, {"corrections": 2, "average": True}])
def test_a_batch_is_the_textbook_loop_row_by_row(prediction, how):
    schedule, x0 = schedule_of(prediction), latents(6, 2, 3, 3)
    toy = Toy(schedule, std=0.6, mean=[0.2, 0.5, 0.8, 1.1, 1.4, 1.7])
    found = renoise(x0, LEVELS, schedule, noise=never, predict=toy, **{"corrections": 0, **how})
    for b, t in enumerate(LEVELS.tolist()):
        single = Toy(schedule, std=0.6, mean=[float(toy.mean[b])])
        levels = grid(t, max(1, math.ceil(10 * (t + 1) / 1000)))
        expected = invert_one(x0[b : b + 1], levels, schedule, single, **how)
        torch.testing.assert_close(found.x_t[b : b + 1], expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("prediction", INVERTIBLE)
@pytest.mark.parametrize("mode", ["exact", "released"])
def test_rows_of_different_levels_in_one_batch_equal_one_row_at_a_time(prediction, mode):
    schedule, x0, means = schedule_of(prediction), latents(6, 2, 3, 3), [0.2, 0.5, 0.8, 1.1, 1.4, 1.7]
    settings = {"noise": never, "mode": mode, "corrections": 1}
    together = renoise(x0, LEVELS, schedule, predict=Toy(schedule, 0.6, means), **settings)
    for b in range(6):
        row, toy = slice(b, b + 1), Toy(schedule, 0.6, means[b : b + 1])
        single = renoise(x0[row], LEVELS[row], schedule, predict=toy, **settings)
        torch.testing.assert_close(together.x_t[row], single.x_t, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(together.target[row], single.target, rtol=1e-9, atol=1e-9)


def test_a_row_at_the_end_of_its_path_is_not_evaluated_any_more():
    schedule, x0 = schedule_of(), latents(6, 2, 3, 3)
    toy = Toy(schedule)
    _ddim(x0, LEVELS, schedule, toy)
    steps = [1, 1, 1, 5, 8, 10]
    assert len(toy.calls) == 10
    for k, (_, t, rows) in enumerate(toy.calls):
        assert rows == [b for b in range(6) if steps[b] > k]
        assert t == [max(grid(LEVELS[b].item(), steps[b])[k], 0) for b in rows]
    assert torch.equal(toy.calls[0][0], x0)  # the network sees the rows' own latents


@pytest.mark.parametrize("prediction", INVERTIBLE)
def test_the_inverted_noise_is_an_average_of_the_predictions_along_the_path(prediction):
    schedule, x0, t = schedule_of(prediction), latents(1, 2, 3, 3), 873
    toy = Toy(schedule, std=0.6, mean=0.8)
    tau = _tau(_ddim(x0, torch.tensor([t]), schedule, toy), x0, schedule)
    levels = torch.tensor(grid(t, 9))
    a, s = schedule.scales(levels)
    weights = (s / a).diff() / (s / a)[-1]
    assert weights.min() >= 0 and abs(weights.sum() - 1) < 1e-12
    predictions = [
        schedule.to_epsilon(toy.output(x, torch.tensor(time), toy.mean), x, levels[k : k + 1])
        for k, (x, time, _) in enumerate(toy.calls)
    ]
    torch.testing.assert_close(
        tau, sum(w * e for w, e in zip(weights, predictions, strict=True)), rtol=1e-12, atol=1e-12
    )


def test_one_step_gives_the_networks_own_prediction_at_the_clean_latent():
    schedule, x0 = schedule_of(), latents(3, 2, 3, 3)
    toy, t = Toy(schedule, 0.6, 0.8), torch.tensor([0, 50, 99])
    found = _ddim(x0, t, schedule, toy)
    assert torch.equal(found.target, toy.output(x0, torch.zeros(3, dtype=torch.long), toy.mean))
    assert len(toy.calls) == 1


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_near_the_clean_end_latent_and_target_keep_their_precision(dtype):
    x0 = latents(1, 2, 3, 3, dtype=dtype)
    ordinary = schedule_of()
    # A first level with a signal-to-noise ratio of 1e12: a difference quotient would have lost every digit.
    sharp = Schedule(torch.cat([torch.tensor([1 - 1e-12], dtype=F64), ordinary.alphas_cumprod]), "epsilon")
    for schedule, near in ((ordinary, 0.1), (sharp, 1e-5)):
        toy = Toy(ordinary, 0.6, 0.8)
        found = _ddim(x0, torch.tensor([0]), schedule, toy)
        assert torch.equal(found.target, toy.output(x0, torch.tensor([0]), toy.mean))
        torch.testing.assert_close(found.x_t, x0, rtol=0, atol=near)


def test_a_first_level_without_noise_returns_the_latent():
    x0 = latents(1, 2, 3, 3)
    schedule = Schedule(torch.tensor([1.0, 0.5]), "epsilon")
    found = _ddim(x0, torch.tensor([0]), schedule, Constant(latents(1, 2, 3, 3, seed=1)), steps=2)
    assert torch.equal(found.x_t, x0) and found.target.isfinite().all()


@pytest.mark.parametrize("how", [{"corrections": 0}, {"corrections": 4}, {"corrections": 3, "average": True}])
def test_a_network_that_always_predicts_the_same_noise_gives_that_noise(how):
    schedule, x0, noise = schedule_of(), latents(6, 2, 3, 3), latents(6, 2, 3, 3, seed=1)
    found = renoise(x0, LEVELS, schedule, noise=never, predict=Constant(noise), **how)
    torch.testing.assert_close(found.target, noise, rtol=1e-12, atol=1e-12)  # so corrections change nothing
    for b, t in enumerate(LEVELS.tolist()):
        back = sample_one(found.x_t[b : b + 1], grid(t, 1 + t // 100), schedule, Constant(noise[b : b + 1]))
        torch.testing.assert_close(back, x0[b : b + 1], rtol=1e-11, atol=1e-11)


def test_without_corrections_renoise_is_ddim_inversion_and_its_average_heun():
    schedule, x0 = schedule_of(), latents(6, 2, 3, 3)
    toy = Toy(schedule, 0.6, 0.8)
    options = {"noise": never, "predict": toy, "steps": 7}
    pairs = [
        (renoise(x0, LEVELS, schedule, corrections=0, **options), ddim_inversion(x0, LEVELS, schedule, **options)),
        (renoise(x0, LEVELS, schedule, corrections=1, average=True, **options), heun(x0, LEVELS, schedule, **options)),
    ]
    for one, other in pairs:
        assert torch.equal(one.x_t, other.x_t) and torch.equal(one.target, other.target)
    assert not torch.equal(pairs[0][0].x_t, pairs[1][0].x_t)


@pytest.mark.parametrize("prediction", INVERTIBLE)
@pytest.mark.parametrize("dtype, tolerance", [(F64, 1e-10), (torch.float32, 1e-5)])
def test_converged_corrections_are_the_exact_inverse_of_sampling(prediction, dtype, tolerance):
    schedule, x0 = schedule_of(prediction), latents(1, 2, 3, 3, dtype=dtype)
    toy, t = Toy(schedule, 0.8, 0.3), 799
    found = renoise(x0, torch.tensor([t]), schedule, noise=never, predict=toy, corrections=60)
    torch.testing.assert_close(sample_one(found.x_t, grid(t, 8), schedule, toy), x0, rtol=0, atol=tolerance)
    plain = _ddim(x0, torch.tensor([t]), schedule, toy)
    assert (sample_one(plain.x_t, grid(t, 8), schedule, toy) - x0).abs().max() > 1e-2


def test_v_predictions_rotate_the_latent():
    # x_q = cos(psi - phi) x_p + sin(psi - phi) v, with cos(phi) = a_p
    schedule, x0, t = schedule_of("v_prediction"), latents(1, 2, 3, 3), 873
    toy, levels = Toy(schedule, 0.6, 0.8), grid(873, 9)
    x = x0
    for p, q in zip(levels[:-1], levels[1:], strict=True):
        phi, psi = (math.acos(schedule.scales(torch.tensor([level]))[0].item()) for level in (p, q))
        v = toy.output(x, torch.tensor([max(p, 0)]), toy.mean)
        x = math.cos(psi - phi) * x + math.sin(psi - phi) * v
    torch.testing.assert_close(_ddim(x0, torch.tensor([t]), schedule, toy).x_t, x, rtol=1e-12, atol=1e-12)


def test_flow_predictions_move_the_latent_on_a_straight_line():
    # x_r' = x_r + (r' - r) v; the network takes the clean latent at time 0
    schedule, x0, t = schedule_of("flow"), latents(1, 2, 3, 3), 999
    toy, levels = Toy(schedule, 0.6, 0.8), grid(999, 10)
    x = x0
    for p, q in zip(levels[:-1], levels[1:], strict=True):
        r, next_r = (schedule.scales(torch.tensor([level]))[1].item() for level in (p, q))
        x = x + (next_r - r) * toy.output(x, torch.tensor([p]), toy.mean)
    torch.testing.assert_close(_ddim(x0, torch.tensor([t]), schedule, toy).x_t, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("corrections", [0, 2])
def test_pure_noise_is_reached_by_v_and_flow_predictions(corrections):
    for schedule in (schedule_of("v_prediction").zero_terminal(), schedule_of("flow")):
        x0, t = latents(1, 2, 3, 3), torch.tensor([999])
        assert schedule.scales(t)[0] == 0.0
        toy = Toy(schedule, 0.6, 0.8)
        found = renoise(x0, t, schedule, noise=never, predict=toy, corrections=corrections)
        assert found.x_t.isfinite().all() and found.target.isfinite().all()
        torch.testing.assert_close(found.target, -x0 if schedule.prediction != "flow" else found.x_t - x0)


def test_epsilon_predictions_cannot_be_inverted_to_pure_noise():
    schedule, x0 = schedule_of().zero_terminal(), latents(2, 1, 1, 1)
    assert _ddim(x0, torch.tensor([998, 0]), schedule, Toy(schedule)).x_t.isfinite().all()
    with pytest.raises(ValueError, match="level 999 of this schedule is pure noise.*Draw levels below 999"):
        _ddim(x0, torch.tensor([0, 999]), schedule, never)


def test_a_sample_prediction_cannot_start_at_the_clean_latent():
    with pytest.raises(ValueError, match="contains no noise. Write clean: alpha0"):
        _ddim(latents(1, 1, 1, 1), torch.tensor([500]), schedule_of("sample"), never)


def test_treated_as_level_0_the_clean_latent_gives_the_same_for_every_prediction():
    x0, found = latents(6, 2, 3, 3), {}
    for prediction in ("epsilon", "v_prediction", "sample"):
        schedule = schedule_of(prediction)
        found[prediction] = _ddim(x0, LEVELS, schedule, Toy(schedule, 0.6, 0.8), clean="alpha0").x_t
    for prediction in ("v_prediction", "sample"):
        torch.testing.assert_close(found[prediction], found["epsilon"], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("t, deficit", [(0, "100.0"), (100, "8.5"), (201, "5.1"), (401, "2.5"), (999, "0.2")])
def test_treated_as_level_0_the_weights_sum_to_less_than_1_and_the_latent_leaks_in(t, deficit):
    schedule, noise = schedule_of(), latents(1, 2, 3, 3, seed=1)
    for x0, leak in ((torch.zeros_like(noise), 0.0), (noise, 1.0)):
        found = _ddim(x0, torch.tensor([t]), schedule, Constant(noise), clean="alpha0").target / noise
        a, s = schedule.scales(torch.tensor([0, t]))
        ratio = s / a
        weights = 1 - ratio[0] / ratio[1]
        assert f"{100 * (1 - weights.item()):.1f}" == deficit
        expected = weights + leak * (1 / a[0] - 1) / ratio[1]
        torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-10, atol=1e-12)


def test_no_gradient_flows_through_an_inversion():
    schedule, weight = schedule_of(), torch.ones(1, requires_grad=True)
    x0 = latents(2, 2, 3, 3, dtype=torch.float32).requires_grad_(True)

    def network(x, t, rows):
        assert not torch.is_grad_enabled()
        with torch.enable_grad():  # a network that enables gradients itself
            return weight * x

    for mode in ("exact", "released"):
        options = {"noise": lambda purpose, shared: torch.zeros(2, 2, 3, 3), "predict": network, "mode": mode}
        found = ddim_inversion(x0, torch.tensor([3, 700]), schedule, eta=0.1, **options)
        assert not found.x_t.requires_grad and not found.target.requires_grad
        detached = ddim_inversion(x0.detach(), torch.tensor([3, 700]), schedule, eta=0.1, **options)
        assert torch.equal(found.x_t, detached.x_t) and torch.equal(found.target, detached.target)
    assert weight.grad is None and x0.grad is None


def test_half_precision_latents_are_inverted_in_float32():
    schedule, x0 = schedule_of(), latents(6, 2, 3, 3, dtype=torch.float16)
    toy = Toy(schedule, 0.6, 0.8)
    found = _ddim(x0, LEVELS, schedule, toy)
    assert {x.dtype for x, _, _ in toy.calls} == {torch.float32}
    assert found.x_t.dtype == found.target.dtype == torch.float16
    wide = _ddim(x0.float(), LEVELS, schedule, Toy(schedule, 0.6, 0.8))
    assert torch.equal(found.x_t, wide.x_t.half()) and torch.equal(found.target, wide.target.half())
    tau = invert(x0, exact_path(LEVELS, exact_steps(LEVELS, 10, 1000)), schedule, toy)
    assert tau.dtype == torch.float32

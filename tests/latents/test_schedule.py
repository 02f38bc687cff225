"""The schedule: its levels, its parameterisations, and the exact conversions between them."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffalign.errors import ConfigError
from diffalign.latents import CLEAN, Schedule, alphas_from_config
from tests.latents.plain import SD

PREDICTIONS = ["epsilon", "v_prediction", "sample", "flow"]
F64 = torch.float64

# Stable Diffusion's levels: t, alpha_bar, a, s, signal-to-noise ratio, from the defining formula to the printed digits.
TABLE = [
    (0, "0.999150", "0.99957", "0.02915", 1175.47),
    (1, "0.998296", "0.99915", "0.04128", 585.86),
    (10, "0.990431", "0.99520", "0.09782", 103.51),
    (100, "0.894223", "0.94563", "0.32523", 8.4539),
    (101, "0.892981", "0.94498", "0.32714", 8.3441),
    (201, "0.752143", "0.86726", "0.49785", 3.0346),
    (401, "0.422882", "0.65029", "0.75968", 0.73275),
    (601, "0.159816", "0.39977", "0.91662", 0.19022),
    (801, "0.036547", "0.19117", "0.98156", 0.03793),
    (901, "0.014005", "0.11834", "0.99297", 0.01420),
    (999, "0.004660", "0.06826", "0.99767", 0.00468),
]


def _schedule(prediction="epsilon", **more):
    if prediction == "flow":
        return Schedule.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    return Schedule.from_config({**SD, "prediction_type": prediction, **more})


def _latents(count=5, dtype=F64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(count, 2, 3, 3, generator=generator, dtype=F64).to(dtype) for _ in range(3)]


@pytest.mark.parametrize("t, alpha_bar, a, s, snr", TABLE)
def test_the_levels_are_those_of_stable_diffusion(t, alpha_bar, a, s, snr):
    schedule = _schedule()
    found_a, found_s = (x.item() for x in schedule.signal_noise(torch.tensor([t]), torch.zeros(1, 1, dtype=F64)))
    assert f"{schedule.alphas_cumprod[t].item():.6f}" == alpha_bar
    assert (f"{found_a:.5f}", f"{found_s:.5f}") == (a, s)
    assert found_a**2 / found_s**2 == pytest.approx(snr, rel=6e-4 if snr < 0.1 else 1e-4)


@pytest.mark.parametrize("spacing", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
@pytest.mark.parametrize("zero", [False, True])
def test_the_levels_equal_those_of_diffusers(spacing, zero):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(beta_schedule=spacing, rescale_betas_zero_snr=zero, num_train_timesteps=200)
    schedule = Schedule.from_config(scheduler.config)
    assert schedule.prediction == "epsilon" and schedule.levels == 200
    torch.testing.assert_close(schedule.alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("name", alphas_from_config.SAMPLERS)
def test_every_scheduler_that_is_read_has_the_levels_that_diffusers_gives_it(name):
    diffusers = pytest.importorskip("diffusers")
    settings = {"num_train_timesteps": 100, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
    scheduler = getattr(diffusers, f"{name}Scheduler")(**settings)
    found = Schedule.from_config({**scheduler.config, "_class_name": f"{name}Scheduler"})
    torch.testing.assert_close(found.alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=1e-4, atol=2e-6)


def test_flow_levels_equal_those_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    _, s = _schedule("flow").signal_noise(torch.arange(1000), torch.zeros(1000, dtype=F64))
    torch.testing.assert_close(s.float(), scheduler.sigmas[:1000].flip(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0])
def test_a_flow_model_takes_the_times_of_diffusers_scheduler(shift):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    config = {**scheduler.config, "_class_name": "FlowMatchEulerDiscreteScheduler"}
    time = Schedule.from_config(config).model_time(torch.arange(1000))
    assert time.dtype == torch.float32
    torch.testing.assert_close(time, scheduler.timesteps.flip(0), rtol=1e-6, atol=1e-4)


def test_a_flow_models_time_is_a_thousand_times_the_share_of_noise():
    time = _schedule("flow").model_time(torch.tensor([-99, CLEAN, 499, 999]))
    torch.testing.assert_close(time, torch.tensor([0.0, 0.0, 750.0, 1000.0]))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_other_models_take_the_level_itself(prediction):
    levels = torch.tensor([-99, 0, 499, 999])
    assert _schedule(prediction).model_time(levels) is levels


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_signal_and_noise_satisfy_their_law_at_every_level(prediction):
    schedule = _schedule(prediction)
    a, s = schedule.signal_noise(torch.arange(1000), torch.zeros(1000, dtype=F64))
    law = a + s if prediction == "flow" else a**2 + s**2
    torch.testing.assert_close(law, torch.ones(1000, dtype=F64), rtol=1e-15, atol=0)
    torch.testing.assert_close(a**2 / (a**2 + s**2), schedule.alphas_cumprod, rtol=1e-12, atol=1e-15)
    assert (s.diff() > 0).all()


@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(t=st.lists(st.integers(0, 998), min_size=5, max_size=5))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_perfect_output_converts_back_to_machine_precision(prediction, t):
    schedule, (x0, noise, _), t = _schedule(prediction), _latents(), torch.tensor(t)
    x_t, target = schedule.add_noise(x0, noise, t), schedule.target(x0, noise, t)
    torch.testing.assert_close(schedule.to_x0(target, x_t, t), x0, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(schedule.to_epsilon(target, x_t, t), noise, rtol=1e-12, atol=2e-12)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_any_output_implies_one_clean_latent_and_one_noise_that_mix_to_the_input(prediction):
    schedule, (x_t, out, _) = _schedule(prediction), _latents()
    t = torch.tensor([0, 100, 500, 801, 998])
    x0, noise = schedule.to_x0(out, x_t, t), schedule.to_epsilon(out, x_t, t)
    torch.testing.assert_close(schedule.add_noise(x0, noise, t), x_t, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(schedule.target(x0, noise, t), out, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_surrogate_errors_convert_exactly(prediction):
    schedule, (x0, noise, wrong) = _schedule(prediction), _latents()
    t = torch.tensor([0, 100, 500, 801, 998])
    x_t, target = schedule.add_noise(x0, noise, t), schedule.target(x0, noise, t)
    out = target + 0.1 * wrong
    error = ((out - target) ** 2).flatten(1).sum(1)
    epsilon_error = ((schedule.to_epsilon(out, x_t, t) - noise) ** 2).flatten(1).sum(1)
    torch.testing.assert_close(error, epsilon_error * schedule.error_factor(t), rtol=1e-10, atol=0)


def test_error_factors_are_the_closed_forms():
    t = torch.tensor([0, 401, 999])
    alpha_bar = _schedule().alphas_cumprod[t]
    r = _schedule("flow").signal_noise(t, torch.zeros(3, dtype=F64))[1]
    assert _schedule("epsilon").error_factor(t).tolist() == [1.0, 1.0, 1.0]
    torch.testing.assert_close(_schedule("v_prediction").error_factor(t), 1 / alpha_bar)
    torch.testing.assert_close(_schedule("sample").error_factor(t), (1 - alpha_bar) / alpha_bar)
    torch.testing.assert_close(_schedule("flow").error_factor(t[:2]), 1 / (1 - r[:2]) ** 2)
    assert _schedule("flow").error_factor(t)[2].isinf()  # the flow's last level is pure noise


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_each_row_of_a_batch_has_its_own_level(prediction):
    schedule, (x0, noise, _), t = _schedule(prediction), _latents(), torch.tensor([3, 998, 40, 500, 3])
    for function in (schedule.add_noise, schedule.target, schedule.to_x0, schedule.to_epsilon):
        single = [function(x0[i : i + 1], noise[i : i + 1], t[i : i + 1]) for i in range(5)]
        assert torch.equal(torch.cat(single), function(x0, noise, t))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_an_image_equals_a_video_of_one_frame(prediction):
    schedule, (x0, noise, _), t = _schedule(prediction), _latents(), torch.tensor([3, 998, 40, 500, 3])
    video = schedule.add_noise(x0[:, :, None], noise[:, :, None], t)
    assert torch.equal(video[:, :, 0], schedule.add_noise(x0, noise, t))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_latents_are_mixed_in_float32(dtype):
    schedule, (x0, noise, _), t = _schedule(), _latents(dtype=dtype), torch.tensor([0, 1, 2, 500, 999])
    found = schedule.add_noise(x0, noise, t)
    assert found.dtype == dtype == schedule.target(x0, noise, t).dtype
    assert torch.equal(found, schedule.add_noise(x0.float(), noise.float(), t).to(dtype))


def test_the_noise_scale_at_the_clean_end_is_not_taken_from_a_rounded_alpha_bar():
    schedule, t = _schedule(), torch.tensor([0])
    _, s = schedule.signal_noise(t, torch.zeros(1, 1, dtype=torch.float16))
    rounded = (1 - schedule.alphas_cumprod[0].half()).sqrt()
    exact = (1 - schedule.alphas_cumprod[0]).sqrt()
    assert abs(s.item() / exact - 1) < 5e-4 < 0.07 < abs(rounded / exact - 1)


def test_the_zero_terminal_schedule_ends_in_pure_noise_and_keeps_its_first_level():
    before, after = _schedule("v_prediction"), _schedule("v_prediction").zero_terminal()
    assert after.alphas_cumprod[-1] == 0.0
    torch.testing.assert_close(after.alphas_cumprod[0], before.alphas_cumprod[0], rtol=1e-15, atol=0)
    assert torch.equal(_schedule("v_prediction", rescale_betas_zero_snr=True).alphas_cumprod, after.alphas_cumprod)
    a_before, a_after = before.alphas_cumprod.sqrt(), after.alphas_cumprod.sqrt()
    stretch = a_after.diff() / a_before.diff()  # an affine map of a
    torch.testing.assert_close(stretch, stretch[0].expand_as(stretch), rtol=1e-9, atol=0)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_at_pure_noise_v_and_sample_predictions_stay_finite(prediction):
    schedule, (x0, noise, _), t = _schedule(prediction).zero_terminal(), _latents(), torch.full((5,), 999)
    x_t, target = schedule.add_noise(x0, noise, t), schedule.target(x0, noise, t)
    assert torch.equal(x_t, noise)
    torch.testing.assert_close(schedule.to_x0(target, x_t, t), x0)
    torch.testing.assert_close(schedule.to_epsilon(target, x_t, t), noise)


def test_at_pure_noise_an_epsilon_prediction_is_refused():
    schedule, (x_t, out, _) = _schedule().zero_terminal(), _latents(3)
    assert schedule.to_x0(out, x_t, torch.tensor([0, 500, 998])).isfinite().all()
    with pytest.raises(ValueError, match=r"level \[999\] is pure noise.*Leave out the last level"):
        schedule.to_x0(out, x_t, torch.tensor([0, 999, 998]))


def test_without_noise_a_sample_prediction_is_refused():
    schedule, (x_t, out, _) = Schedule(torch.tensor([1.0, 0.5]), "sample"), _latents(2)
    with pytest.raises(ValueError, match=r"level \[0\] is free of noise"):
        schedule.to_epsilon(out, x_t, torch.tensor([0, 1]))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_clean_level_has_no_noise(prediction):
    schedule, (x, out, _), t = _schedule(prediction), _latents(2), torch.tensor([CLEAN, CLEAN])
    a, s = schedule.scales(t)
    assert a.tolist() == [1.0, 1.0] and s.tolist() == [0.0, 0.0]
    assert torch.equal(schedule.add_noise(x, out, t), x)
    if prediction == "sample":
        with pytest.raises(ValueError, match=r"level \[-1\] is free of noise"):
            schedule.to_epsilon(out, x, t)
    else:
        assert torch.equal(schedule.to_epsilon(out, x, t), out + x if prediction == "flow" else out)


@pytest.mark.parametrize(
    "config, message",
    [
        ({**SD, "beta_schedule": "scaled_linar"}, "Did you mean 'scaled_linear'"),
        ({**SD, "prediction_type": "v-prediction"}, "Did you mean 'v_prediction'"),
        ({**SD, "_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler, whose noise levels are not a list of betas"),
        ({**SD, "_class_name": "CogVideoXDDIMScheduler"}, "CogVideoXDDIMScheduler, whose noise levels"),
        ({**SD, "_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "samples a flow"),
        ({**SD, "prediction_type": "flow_prediction"}, "samples a flow"),
        ({"num_train_timesteps": 1000, "beta_schedule": "linear"}, "lacks beta_start, beta_end"),
        ({"_class_name": "LCMScheduler"}, "lacks num_train_timesteps, beta_schedule, beta_start, beta_end"),
        ({"beta_schedule": "squaredcos_cap_v2"}, "lacks num_train_timesteps, without which"),
        ({"trained_betas": [0.1, 0.0, 0.1]}, "below the one before"),
        ({"trained_betas": [0.1, 1.5]}, "below the one before"),
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
            "use_dynamic_shifting: false",
        ),
    ],
)
def test_an_unsupported_config_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        Schedule.from_config(config)


def test_with_zero_terminal_snr_noise_and_targets_equal_those_of_diffusers_at_every_level():
    diffusers = pytest.importorskip("diffusers")
    kind = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    theirs = diffusers.DDIMScheduler(**kind)
    ours = Schedule.from_config({**theirs.config, "_class_name": "DDIMScheduler"})
    x0, noise = torch.randn(2, 4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0, 10, 500, 999])
    torch.testing.assert_close(ours.target(x0, noise, t), theirs.get_velocity(x0, noise, t), rtol=0, atol=2e-4)
    torch.testing.assert_close(ours.add_noise(x0, noise, t), theirs.add_noise(x0, noise, t), rtol=0, atol=2e-4)
    epsilon = Schedule.from_config({**theirs.config, "prediction_type": "epsilon", "_class_name": "DDIMScheduler"})
    assert (ours.informative, epsilon.informative) == (1000, 999)  # pure noise teaches nothing about an epsilon

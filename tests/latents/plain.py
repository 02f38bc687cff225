"""Inversion in plain lines, one latent at a time, to compare with; and networks that are optimal for toy data."""

import math

import torch

from diffalign.latents import CLEAN, Schedule

F64 = torch.float64
SD = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def schedule_of(prediction="epsilon"):
    """Returns Stable Diffusion's levels, or those of a flow with shift 3."""
    if prediction == "flow":
        return Schedule.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    return Schedule.from_config({**SD, "prediction_type": prediction})


def latents(*shape, dtype=F64, seed=0):
    """Returns standard normal numbers, the same in every dtype."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def never(*_):
    """A network or a noise that must not be called."""
    raise AssertionError("must not be called")


class Toy:
    """The optimal network for data from two normal distributions of deviation ``std`` at ``+- mean``.

    It accepts level :data:`CLEAN` too. ``mean`` may be one number per row of the batch. It records its calls.
    """

    def __init__(self, schedule, std=1.0, mean=0.0):
        self.schedule, self.std, self.mean = schedule, std, torch.as_tensor(mean, dtype=F64)
        self.calls = []

    def __call__(self, x, t, rows):
        self.calls.append((x.clone(), t.tolist(), rows.tolist()))
        return self.output(x, t, self.mean[rows].reshape(-1, *[1] * (x.ndim - 1)) if self.mean.ndim else self.mean)

    def output(self, x, t, mean):
        a, s = (value.to(F64) for value in self.schedule.signal_noise(t, x.to(F64)))
        variance = (a * self.std) ** 2 + s**2
        centre = mean * torch.tanh(a * mean * x / variance)
        x0 = (a * self.std**2 * x + s**2 * centre) / variance
        noise = s * (x - a * centre) / variance
        outputs = {"epsilon": noise, "v_prediction": a * noise - s * x0, "sample": x0, "flow": noise - x0}
        return outputs[self.schedule.prediction].to(x.dtype)


class Constant:
    """A network that always predicts the same noise; for epsilon prediction."""

    def __init__(self, noise):
        self.noise = noise

    def __call__(self, x, t, rows):
        return self.noise.to(x.dtype)[rows]


def scales(schedule, level):
    """Returns ``(a, s)`` of one level as plain numbers, from the definitions."""
    alpha_bar = 1.0 if level == CLEAN else float(schedule.alphas_cumprod[level])
    a, s = math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar)
    return (a / (a + s), s / (a + s)) if schedule.prediction == "flow" else (a, s)


def move(x, noise, start, end):
    """Returns the result of the DDIM move between two ``(a, s)``, in either direction."""
    (a_p, s_p), (a_q, s_q) = start, end
    return a_q * (x - s_p * noise) / a_p + s_q * noise


def noise_of(schedule, out, x, at):
    """Returns the noise that an output implies."""
    a, s = at
    return {"epsilon": out, "v_prediction": a * out + s * x, "flow": x + a * out}[schedule.prediction]


def grid(t, n):
    """Returns the levels of the exact path, by the formula."""
    return [round(-1 + (t + 1) * k / n) for k in range(n + 1)]


def invert_one(x0, levels, schedule, network, corrections=0, average=False, eta=0.0, z=()):
    """Returns the latent at the end of ``levels``: the textbook loop for one latent ``(1, ...)``."""
    x = x0
    for k, (p, q) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        here, there = scales(schedule, p), scales(schedule, q)
        time = torch.tensor([max(p, schedule.first_time)])
        predictions = [noise_of(schedule, network(x, time, torch.tensor([0])), x, here)]
        guess = move(x, predictions[0], here, there)
        for _ in range(corrections):
            predictions.append(noise_of(schedule, network(guess, torch.tensor([q]), torch.tensor([0])), guess, there))
            guess = move(x, predictions[-1], here, there)
        x = move(x, sum(predictions) / len(predictions), here, there) if average else guess
        if eta:
            big, small = here[0] ** 2, there[0] ** 2
            x = x + eta * math.sqrt((1 - big) / (1 - small) * (1 - small / big)) * z[k]
    return x


def sample_one(x, levels, schedule, network):
    """Samples by DDIM down the same levels, back to the clean latent."""
    for p, q in zip(levels[-2::-1], levels[:0:-1], strict=True):
        out = network(x, torch.full((len(x),), q), torch.arange(len(x)))
        here, there = scales(schedule, q), scales(schedule, p)
        x = move(x, noise_of(schedule, out, x, here), here, there)
    return x

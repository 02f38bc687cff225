"""Inversion in plain lines, one latent at a time, to compare with; and networks that know their data."""

import math

import torch

from diffalign.latents import CLEAN, Schedule

F64 = torch.float64
SD = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def schedule_of(prediction="epsilon"):
    """Stable Diffusion's levels, or those of a flow with shift 3."""
    if prediction == "flow":
        return Schedule.from_config({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0})
    return Schedule.from_config({**SD, "prediction_type": prediction})


def latents(*shape, dtype=F64, seed=0):
    """Standard normal numbers, the same in every dtype."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64).to(dtype)


def never(*_):
    """A network or a noise that must not be asked."""
    raise AssertionError("nobody should have asked")


class Toy:
    """The optimal network for data from two normal distributions of deviation ``std`` at ``+- mean``.

    Level :data:`CLEAN` is understood too. ``mean`` may be one number per row of the batch. Counts its evaluations.
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
    """A network that always says the same noise; for epsilon prediction."""

    def __init__(self, noise):
        self.noise = noise

    def __call__(self, x, t, rows):
        return self.noise.to(x.dtype)[rows]


def scales(schedule, level):
    """``(a, s)`` of one level as plain numbers, from the definitions."""
    alpha_bar = 1.0 if level == CLEAN else float(schedule.alphas_cumprod[level])
    a, s = math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar)
    return (a / (a + s), s / (a + s)) if schedule.prediction == "flow" else (a, s)


def move(x, noise, start, end):
    """The DDIM move between two ``(a, s)``, in either direction."""
    (a_p, s_p), (a_q, s_q) = start, end
    return a_q * (x - s_p * noise) / a_p + s_q * noise


def noise_of(schedule, out, x, at):
    """The noise that an output implies."""
    a, s = at
    return {"epsilon": out, "v_prediction": a * out + s * x, "flow": x + a * out}[schedule.prediction]


def grid(t, n):
    """Levels of the exact path, by the formula."""
    return [round(-1 + (t + 1) * k / n) for k in range(n + 1)]


def invert_one(x0, levels, schedule, network, corrections=0, average=False, eta=0.0, z=()):
    """The latent at the end of ``levels``: the loop for one latent ``(1, ...)`` as a textbook writes it."""
    x = x0
    for k, (p, q) in enumerate(zip(levels[:-1], levels[1:], strict=True)):
        here, there = scales(schedule, p), scales(schedule, q)
        found = [noise_of(schedule, network(x, torch.tensor([max(p, 0)]), torch.tensor([0])), x, here)]
        guess = move(x, found[0], here, there)
        for _ in range(corrections):
            found.append(noise_of(schedule, network(guess, torch.tensor([q]), torch.tensor([0])), guess, there))
            guess = move(x, found[-1], here, there)
        x = move(x, sum(found) / len(found), here, there) if average else guess
        if eta:
            big, small = here[0] ** 2, there[0] ** 2
            x = x + eta * math.sqrt((1 - big) / (1 - small) * (1 - small / big)) * z[k]
    return x


def sample_one(x, levels, schedule, network):
    """DDIM sampling down the same levels, back to the clean latent."""
    for p, q in zip(levels[-2::-1], levels[:0:-1], strict=True):
        out = network(x, torch.full((len(x),), q), torch.arange(len(x)))
        here, there = scales(schedule, q), scales(schedule, p)
        x = move(x, noise_of(schedule, out, x, here), here, there)
    return x

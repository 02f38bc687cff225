"""Latents: the mathematics of noise. Levels and their parameterisations, where a candidate is judged, and the draws.

It receives tensors and two callables, one for noise and one that asks a network; it never sees a model. A new estimator
is one file with a function and its row, one import line and one name in the table here.
"""

from diffalign.latents.alphas import rescale_zero_terminal_snr
from diffalign.latents.ddim import DDIM_INVERSION, ddim_inversion
from diffalign.latents.estimator import BoundEstimator, Estimator, Latent, Noise, Predict, table
from diffalign.latents.forward import FORWARD, forward_noising, timesteps
from diffalign.latents.inversion import invert
from diffalign.latents.inversion_path import Path, exact_path, exact_steps
from diffalign.latents.released_inversion import released_path, released_steps
from diffalign.latents.renoise import HEUN, RENOISE, heun, renoise
from diffalign.latents.schedule import CLEAN, Schedule
from diffalign.latents.surrogate_error import mean_squared_error
from diffalign.randomness import Draw, stream

LATENTS: dict[str, Estimator] = table(FORWARD, DDIM_INVERSION, RENOISE, HEUN)
"""Every estimator by name; the first is the default."""

__all__ = [
    "CLEAN",
    "LATENTS",
    "BoundEstimator",
    "Draw",
    "Estimator",
    "Latent",
    "Noise",
    "Path",
    "Predict",
    "Schedule",
    "ddim_inversion",
    "exact_path",
    "exact_steps",
    "forward_noising",
    "heun",
    "invert",
    "mean_squared_error",
    "released_path",
    "released_steps",
    "renoise",
    "rescale_zero_terminal_snr",
    "stream",
    "timesteps",
]

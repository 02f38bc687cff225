"""The mathematics of noise: levels and their parameterisations, and the latents at which candidates are scored.

Functions here take tensors and two callables, one for noise and one for a network's predictions; they never take a
model. To add an estimator, write one file with a function and its row, and add one import line and one name to the
table here.
"""

from diffalign.latents.alphas_from_config import rescale_zero_terminal_snr
from diffalign.latents.ddim_inversion import DDIM_INVERSION, ddim_inversion
from diffalign.latents.estimator import BoundEstimator, Estimator, Latent, Noise, Predict, table
from diffalign.latents.forward import FORWARD, forward_noising, timesteps
from diffalign.latents.inversion import invert
from diffalign.latents.inversion_path import InversionPath, exact_path, exact_steps
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
    "InversionPath",
    "Latent",
    "Noise",
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

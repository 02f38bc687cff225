"""Latents: the mathematics of noise. Levels and their parameterisations, where a candidate is judged, and the draws.

It receives tensors and, where an estimator asks a network, a callable ``predict(x_t, t)``; it never sees a model. A new
estimator is one function with the signature of :func:`forward_noising`, one import line and one row here.
"""

from collections.abc import Callable

from diffalign.latents.draws import Draw, stream
from diffalign.latents.error import mean_squared_error
from diffalign.latents.forward import Latent, Predict, forward_noising, timesteps
from diffalign.latents.levels import rescale_zero_terminal_snr
from diffalign.latents.schedule import Schedule

LATENTS: dict[str, Callable[..., Latent]] = {"forward": forward_noising}
"""Every estimator by name; the first is the default."""

__all__ = [
    "LATENTS",
    "Draw",
    "Latent",
    "Predict",
    "Schedule",
    "forward_noising",
    "mean_squared_error",
    "rescale_zero_terminal_snr",
    "stream",
    "timesteps",
]

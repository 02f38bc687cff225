"""Unit noise: what can be done about inverted latents that hold less noise than their level says.

At every level a network expects noise of rms 1. An inversion in few steps ends with a smaller ``tau``: a move takes the
network's prediction at its start, where the network predicts less noise than there is at the end. So errors at these
latents fall when the network learns to predict less noise, for both candidates alike.

    rescale    tau / rms                            keeps its direction
    fill       tau + sqrt(max(0, 1 - rms^2)) z      z: the pair's fresh noise; keeps its part of the latent

``rms^2`` is the mean square of one candidate's ``tau``. Both cost no forward pass. More corrections per step
(`diffalign.latents.renoise`) fill the deficit with the network's own noise, at the price of their forward passes.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from diffalign.latents.estimator import Noise
from diffalign.latents.estimator_settings import one_of

UnitNoise = Literal["rescale", "fill"]

UNIT_NOISE = one_of(
    ("rescale", "fill"),
    "what is done about inverted noise whose rms is not 1: rescale it, or fill it up with fresh noise",
    "Leave it at null, as published.",
    null="as it is",
)


def rms(tau: Tensor) -> Tensor:
    """Returns the root of the mean square of each row, ``(B,)``: near 1 for noise."""
    return tau.flatten(1).square().mean(1).sqrt()


def to_unit_noise(tau: Tensor, how: UnitNoise | None, noise: Noise) -> Tensor:
    """Returns ``tau`` ``(B, ...)`` with rms 1 ("rescale"), or with rms at least 1 on average ("fill"); None: as it is.

    Args:
        tau: Noise of inverted latents.
        how: The formula of the module's docstring.
        noise: Called for ``unit_noise``, shared by both candidates, where the noise is filled up.
    """
    if how is None:
        return tau
    size = rms(tau).view(-1, *[1] * (tau.ndim - 1))
    if how == "rescale":
        return tau / size.clamp(min=1e-6)
    return tau + (1.0 - size.square()).clamp(min=0.0).sqrt() * noise("unit_noise", True).to(tau)

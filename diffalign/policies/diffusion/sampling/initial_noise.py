"""The noise that a sample begins with: the latent of its path at the schedule's noisiest level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def initial_noise(seed: int, shape: Sequence[int]) -> Tensor:
    """Returns the noise that `sampling.sample` draws for a seed, float32 on the CPU.

    Args:
        seed: The sample's seed.
        shape: ``(C, h, w)``, of the latent at the resolution that it is sampled at.

    Facts: samplers multiply it by their scheduler's ``init_noise_sigma``, which is 1 for DDIM. In half precision the
        same numbers are drawn, rounded.
    """
    return torch.randn((1, *shape), generator=torch.Generator("cpu").manual_seed(seed))[0]

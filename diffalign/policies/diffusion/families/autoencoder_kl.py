"""The codec of ``AutoencoderKL``: a normal posterior per latent element, one frame at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffalign.policies.diffusion.families.family import LatentScale


class AutoencoderKLCodec:
    """Encodes images ``(B, 3, H, W)`` as posteriors ``(B, C, h, w)`` and decodes such latents."""

    autoencoder = "AutoencoderKL"

    def scale(self, vae: nn.Module) -> LatentScale:
        """Returns the scale that the autoencoder's configuration states: its factor with a shift, or with statistics
        of each channel.
        """
        config: Any = vae.config
        factor = float(config.scaling_factor)
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is None or std is None:
            return LatentScale(float(getattr(config, "shift_factor", None) or 0.0), factor)
        return LatentScale(torch.tensor(mean).view(-1, 1, 1), factor / torch.tensor(std).view(-1, 1, 1))

    @torch.no_grad()
    def posterior(self, vae: nn.Module, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation, unscaled."""
        network: Any = vae
        with torch.autocast(network.device.type, enabled=False):
            posterior = network.encode(pixels.to(network.device, network.dtype)).latent_dist
        return posterior.mean, posterior.std

    @torch.no_grad()
    def decode(self, vae: nn.Module, latents: Tensor) -> Tensor:
        """Returns images ``(B, 3, H, W)``."""
        network: Any = vae
        with torch.autocast(network.device.type, enabled=False):
            return network.decode(latents.to(network.dtype), return_dict=False)[0]

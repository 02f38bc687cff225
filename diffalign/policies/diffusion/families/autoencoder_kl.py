"""The codecs of ``AutoencoderKL``: a normal posterior per latent element; of clips, one frame at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from diffalign.policies.diffusion.families.family import LatentScale


class AutoencoderKLCodec:
    """Encodes images ``(B, 3, H, W)`` as posteriors ``(B, C, h, w)`` and decodes such latents."""

    autoencoder = "AutoencoderKL"
    axes: tuple[int, ...] = (1, 1)
    """Of a latent, after its channels."""

    def scale(self, vae: nn.Module) -> LatentScale:
        """Returns the scale that the autoencoder's configuration states: its factor with a shift, or with statistics
        of each channel.
        """
        config: Any = vae.config
        factor = float(config.scaling_factor)
        mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
        if mean is None or std is None:
            return LatentScale(float(getattr(config, "shift_factor", None) or 0.0), factor)
        return LatentScale(torch.tensor(mean).view(-1, *self.axes), factor / torch.tensor(std).view(-1, *self.axes))

    @torch.no_grad()
    def posterior(self, vae: nn.Module, pixels: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation, unscaled."""
        network: Any = vae
        with torch.autocast(network.device.type, enabled=False):
            posterior = network.encode(pixels.to(network.device, network.dtype)).latent_dist
        return posterior.mean, posterior.std

    @torch.no_grad()
    def decode(self, vae: nn.Module, latents: Tensor, at_once: int) -> Tensor:
        """Returns images ``(B, 3, H, W)``."""
        network: Any = vae
        with torch.autocast(network.device.type, enabled=False):
            return network.decode(latents.to(network.dtype), return_dict=False)[0]


class FramewiseCodec(AutoencoderKLCodec):
    """Encodes clips ``(B, 3, F, H, W)`` as posteriors ``(B, C, F, h, w)`` and decodes such latents, frame by frame.

    A frame does not depend on the others. Encoding always takes ``at_once`` frames, the last of a call repeated where
    fewer are left, so that a frame's numbers do not depend on what is encoded beside it either.
    """

    axes = (1, 1, 1)

    @torch.no_grad()
    def posterior(self, vae: nn.Module, pixels: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation, unscaled."""
        parts = []
        for frames in _frames(pixels).split(at_once):
            full = torch.cat([frames, frames[-1:].expand(at_once - len(frames), -1, -1, -1)])
            parts.append([value[: len(frames)] for value in super().posterior(vae, full, at_once)])
        mean, std = (_clips(torch.cat(values), len(pixels)) for values in zip(*parts, strict=True))
        return mean, std

    @torch.no_grad()
    def decode(self, vae: nn.Module, latents: Tensor, at_once: int) -> Tensor:
        """Returns clips ``(B, 3, F, H, W)``."""
        frames = [super(FramewiseCodec, self).decode(vae, part, at_once) for part in _frames(latents).split(at_once)]
        return _clips(torch.cat(frames), len(latents))


def _frames(clips: Tensor) -> Tensor:
    """``(B, C, F, H, W)`` as ``(B F, C, H, W)``."""
    return clips.transpose(1, 2).flatten(0, 1)


def _clips(frames: Tensor, count: int) -> Tensor:
    """``(B F, C, H, W)`` as ``(B, C, F, H, W)`` of ``count`` clips."""
    return frames.unflatten(0, (count, -1)).transpose(1, 2).contiguous()

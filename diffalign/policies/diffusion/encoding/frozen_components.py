"""The frozen parts around a denoiser: autoencoder, text encoders, sampler. Loaded when asked for, let go when idle."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.policies.diffusion.families.conditioning import Prompts, tokenizer_digest
from diffalign.policies.module_utils import weights_digest


class FrozenComponents:
    """A pipeline without its denoiser.

    Args:
        open_pipeline: Loads it. The autoencoder comes in float32: posteriors are computed once, images are looked at.
        make_prompts: The family's prompt encoder, from the pipeline.
        device: Where the parts work. Idle, they wait in host memory if that is elsewhere, and are dropped if it is not.
    """

    def __init__(
        self, open_pipeline: Callable[[], Any], make_prompts: Callable[[Any], Prompts], device: torch.device
    ) -> None:
        self.device = device
        self._open = open_pipeline
        self._make_prompts = make_prompts
        self._pipeline: Any = None
        self._prompts: Any = None
        self._digests: tuple[str, str] | None = None
        pipeline = self.pipeline()
        config = pipeline.vae.config
        self.pixels_per_latent: int = pipeline.vae_scale_factor
        self.kind: str = type(pipeline).__name__
        self.scheduler_config: dict[str, Any] = dict(pipeline.scheduler.config)
        self.offset, self.factor = latent_scale(config)

    @property
    def loaded(self) -> bool:
        """Whether the parts are on the device now."""
        return self._pipeline is not None and self._pipeline.vae.device.type == self.device.type

    def pipeline(self) -> Any:
        """The pipeline, loaded and on the device; its denoiser is None."""
        if self._pipeline is None:
            self._pipeline = self._open()
            self._prompts = self._make_prompts(self._pipeline)
            for module in self._modules():
                module.requires_grad_(False).eval()
        for module in self._modules():
            module.to(self.device)
        return self._pipeline

    def prompts(self) -> Prompts:
        """The prompt encoder, on the device."""
        self.pipeline()
        return self._prompts

    def digests(self) -> tuple[str, str]:
        """Identity of the autoencoder, and of the text encoders with their tokenizers."""
        if self._digests is None:
            self.pipeline()
            words = "".join(tokenizer_digest(tokenizer) for tokenizer in self._prompts.tokenizers)
            kind = f"{type(self._prompts).__name__}{getattr(self._prompts, 'force_zeros', '')}"
            text = f"{weights_digest(self._prompts.modules)}{words}{kind}"
            self._digests = (
                weights_digest([self._pipeline.vae]),
                hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
            )
        return self._digests

    def release(self) -> None:
        """Leaves the device: to host memory, or away altogether when the device is the host."""
        if self._pipeline is None:
            return
        if self.device.type == "cpu":
            self._pipeline = self._prompts = None
            gc.collect()
            return
        for module in self._modules():
            module.to("cpu")
        torch.cuda.empty_cache()

    @contextmanager
    def visiting(self) -> Iterator[Any]:
        """The pipeline for as long as the block lasts; parts that were away before are away again afterwards."""
        was_loaded = self.loaded
        try:
            yield self.pipeline()
        finally:
            if not was_loaded:
                self.release()

    @torch.no_grad()
    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation ``(B, C, h, w)``, unscaled, of images ``(B, 3, H, W)`` in [-1, 1]."""
        vae = self.pipeline().vae
        with torch.autocast(self.device.type, enabled=False):
            posterior = vae.encode(images.to(vae.device, vae.dtype)).latent_dist
        return posterior.mean, posterior.std

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images ``(B, 3, H, W)`` in about [-1, 1] of scaled latents."""
        vae = self.pipeline().vae
        offset, factor = _to(self.offset, latents), _to(self.factor, latents)
        with torch.autocast(self.device.type, enabled=False):
            return vae.decode((latents.float() / factor + offset).to(vae.dtype), return_dict=False)[0]

    def _modules(self) -> list[nn.Module]:
        return [self._pipeline.vae, *self._prompts.modules]


def latent_scale(config: Any) -> tuple[Tensor | float, Tensor | float]:
    """``(offset, factor)`` of a diffusers autoencoder: a network's latent is ``(z - offset) factor``."""
    factor = float(config.scaling_factor)
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or std is None:
        return float(getattr(config, "shift_factor", None) or 0.0), factor
    return torch.tensor(mean).view(-1, 1, 1), factor / torch.tensor(std).view(-1, 1, 1)


def _to(value: Tensor | float, like: Tensor) -> Tensor | float:
    return value.to(like.device) if isinstance(value, Tensor) else value

"""The frozen components around a denoiser: autoencoder, text encoders, scheduler; loaded on use, released when idle."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from diffalign.data.storage.kept_latents import LatentSpace
from diffalign.devices.halving import Pieces
from diffalign.devices.movable import HOST, Movable
from diffalign.devices.out_of_memory import is_out_of_memory
from diffalign.files.complete_weights import one_sentence
from diffalign.policies.diffusion.families import Family
from diffalign.policies.diffusion.families.clip_tokens import check_tokenizer, tokenizer_digest
from diffalign.policies.diffusion.families.family import LatentScale, PromptEncoder
from diffalign.policies.diffusion.families.source import ModelSource
from diffalign.policies.module_utils import weights_digest

Result = TypeVar("Result")


class FrozenComponents:
    """A pipeline without its denoiser. Implements :class:`~diffalign.devices.residency.Part`.

    Args:
        family: The model's family.
        source: The model's folders.
        dtype: Of the text encoders.
        device: Where the components work. When idle they wait in host memory, or are dropped where ``device`` is the
            host.
        at_once: Frames of clips that go through the autoencoder together.
    """

    def __init__(
        self, family: Family, source: ModelSource, dtype: torch.dtype, device: torch.device, at_once: int = 8
    ) -> None:
        self.family = family
        self.device = device
        self.source = source
        self._frames = Pieces("frames go through the autoencoder", at_once)
        self._dtype = dtype
        self._movable = Movable(self._modules, device, present=False, unchanging=True)
        self._pipeline: Any = None
        self._prompt_encoder: PromptEncoder | None = None
        self._digests: tuple[str, str] | None = None
        pipeline = self.pipeline()
        self.pixels_per_latent: int = pipeline.vae_scale_factor
        self.latent_channels: int = pipeline.vae.config.latent_channels
        self.scheduler_config: dict[str, Any] = dict(pipeline.scheduler.config)
        with one_sentence(f"{source.folder} cannot be used as a {family.pipeline}"):
            self.scale: LatentScale = family.codec.scale(pipeline.vae)
            pipeline.scheduler.set_timesteps(1)
            for tokenizer, module in zip(self.prompt_encoder().tokenizers, self.prompt_encoder().modules, strict=True):
                check_tokenizer(tokenizer, module.config)

    @property
    def present(self) -> bool:
        """Whether the components are loaded and on the device."""
        return self._pipeline is not None and self._movable.present

    def bring(self) -> None:
        """Loads the components, and moves them to the device."""
        self.pipeline()

    def pipeline(self) -> Any:
        """Returns the pipeline, loaded and on the device; its denoiser is None."""
        if self._pipeline is None:
            self._pipeline = self.family.load_pipeline(self.source, self._dtype)
            self._prompt_encoder = self.family.prompt_encoder(self._pipeline)
            for module in self._modules():
                module.requires_grad_(False).eval()
        self._movable.bring()
        return self._pipeline

    def prompt_encoder(self) -> PromptEncoder:
        """Returns the prompt encoder, on the device."""
        self.pipeline()
        assert self._prompt_encoder is not None
        return self._prompt_encoder

    def digests(self) -> tuple[str, str]:
        """Returns the identity of the autoencoder, and that of the text encoders with their tokenizers."""
        if self._digests is None:
            encoder = self.prompt_encoder()
            tokenizers = "".join(tokenizer_digest(tokenizer) for tokenizer in encoder.tokenizers)
            text = f"{weights_digest(encoder.modules)}{tokenizers}{encoder.identity}"
            self._digests = (
                weights_digest([self._pipeline.vae]),
                hashlib.blake2b(text.encode(), digest_size=16).hexdigest(),
            )
        return self._digests

    def latent_space(self) -> LatentSpace:
        """Returns what decides what an image's latent is: the autoencoder and its scale."""
        return LatentSpace(self.digests()[0], self.scale.identity)

    def send_away(self) -> None:
        """Moves the components from the device to host memory, or drops them where the device is the host."""
        if self._pipeline is None:
            return
        self._movable.send_away()
        if self.device == HOST:
            self._pipeline = self._prompt_encoder = None
            gc.collect()

    @contextmanager
    def kept_loaded(self) -> Iterator[Any]:
        """Yields the pipeline, loaded for the length of the block; components that were not there before are sent away
        afterwards.
        """
        was_present = self.present
        try:
            yield self.pipeline()
        finally:
            if not was_present:
                self.send_away()

    def empty_prompt(self) -> dict[str, Tensor]:
        """Returns the conditioning of the empty prompt in shape and type, without its values."""
        from torch._subclasses.fake_tensor import FakeTensorMode

        encoder = self.prompt_encoder()
        with FakeTensorMode(allow_non_fake_inputs=True):
            return encoder.empty()

    def posterior(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation ``(B, C, h, w)``, unscaled, of images ``(B, 3, H, W)`` in [-1, 1]; of
        clips ``(B, 3, F, H, W)`` those of their latents.
        """
        vae = self.pipeline().vae
        return self._in_fewer_frames(lambda at_once: self.family.codec.posterior(vae, pixels, at_once))

    def decode(self, latents: Tensor) -> Tensor:
        """Returns images ``(B, 3, H, W)`` in about [-1, 1] of the network's latents, or clips ``(B, 3, F, H, W)``."""
        vae = self.pipeline().vae
        z = self.scale.to(latents.device).denormalise(latents.float())
        return self._in_fewer_frames(lambda at_once: self.family.codec.decode(vae, z, at_once))

    def _in_fewer_frames(self, compute: Callable[[int], Result]) -> Result:
        """Returns what ``compute`` makes of frames at once; of clips fewer at once where memory runs out."""
        while True:
            try:
                return compute(self._frames.size)
            except Exception as error:
                if self.family.medium != "video" or self._frames.size == 1 or not is_out_of_memory(error):
                    raise
            self._frames.halve(self._frames.size)  # after `except`: by then the failed attempt is freed

    def sharp_posterior(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the network's latents ``(B, C, ...)`` as the means of posteriors without spread, unscaled: mean
        and standard deviation ``(B, 1, C, ...)`` of the one view that they have.
        """
        mean = self.scale.to("cpu").denormalise(latents)[:, None]
        return mean, torch.zeros_like(mean)

    def _modules(self) -> list[nn.Module]:
        assert self._prompt_encoder is not None
        return [self._pipeline.vae, *self._prompt_encoder.modules]

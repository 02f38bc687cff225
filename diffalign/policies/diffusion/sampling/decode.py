"""Latents as what people and judges see: images, or clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.data.media.clips.clip import Clip
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents

BATCH = 8
"""Images that are decoded together; of clips the autoencoder decides, see `FrozenComponents`."""


def decode_samples(frozen: FrozenComponents, latents: Sequence[Tensor], fps: float, batch: int = BATCH) -> list[Any]:
    """Returns the images (PIL) of scaled latents ``(C, h, w)``, or the clips, of ``fps``, of latents ``(C, F, h,
    w)``.
    """
    if frozen.family.medium == "video":
        batch = 1
    samples: list[Any] = []
    with torch.no_grad(), frozen.kept_loaded() as pipeline:
        for start in range(0, len(latents), batch):
            part = torch.stack(list(latents[start : start + batch])).to(frozen.device)
            samples += as_samples(pipeline, frozen.decode(part), fps)
    return samples


def decode_candidates(frozen: FrozenComponents, candidates: Sequence[CachedCandidate], fps: float) -> list[Any]:
    """Returns candidates that were sampled for training as images, or as clips of ``fps``."""
    return decode_samples(frozen, list(latents_of(frozen, [candidate.read() for candidate in candidates])), fps)


def latents_of(frozen: FrozenComponents, entries: Sequence[Mapping[str, Tensor]]) -> Tensor:
    """Returns the scaled latents ``(B, C, ...)`` of encoded candidates: the means of their posteriors, plain views."""
    means = torch.stack([entry["mean"][0].float() for entry in entries])
    return frozen.scale.to("cpu").normalise(means)


def as_samples(pipeline: Any, pixels: Tensor, fps: float) -> list[Any]:
    """Returns decoded pixels, ``(B, 3, H, W)`` or ``(B, 3, F, H, W)`` in about [-1, 1], as images or as clips."""
    if pixels.ndim == 4:
        images: list[Any] = pipeline.image_processor.postprocess(pixels.float(), output_type="pil")
        return images
    levels = ((pixels.float() / 2 + 0.5).clamp(0, 1) * 255).round().to("cpu", torch.uint8)
    return [Clip(clip.permute(1, 2, 3, 0).contiguous().numpy(), fps) for clip in levels]

"""Samples as candidates for training pairs, kept as the tensors that training reads.

A sampler ends in a latent, of an image or of a clip, and that latent is scored: nothing is decoded and encoded again.
Such a latent has no posterior to sample from (its standard deviation is 0) and no mirrored view; ``roundtrip`` adds
both, by decoding the image and encoding it like any other. It costs a pass of decoder and encoder per sample, and none
of the denoiser.

    roundtrip   winners                             samples           equal where
    none        the image encoded, or kept latents  latents           the winners are kept latents
    samples     the image encoded                   decoded, encoded  the winners are images that this model drew
    both        encoded or kept, decoded, encoded   decoded, encoded  the winners are any other images, or kept latents
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from diffalign.data.records.pair import Media
from diffalign.data.storage.cached_candidate import CachedCandidate
from diffalign.data.storage.tensor_cache import TensorCache
from diffalign.errors import ConfigError
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.sampling.sample import sample


class ImageCandidates(BaseModel):
    """Settings of the candidates that are sampled for training.

    Neither SePPO's paper nor its repository states how its reference samples; 50 steps of DDIM at guidance 7.5 are our
    choice.

    Args:
        steps: Sampling steps. They are nine tenths of the cost of a round.
        guidance: Scale of classifier-free guidance.
        sampler: ``ddim``, or the model's ``own``.
        eta: Noise of DDIM; 0 is deterministic.
        roundtrip: ``none`` leaves samples as latents, as described for the method; ``samples`` decodes and encodes
            them, as winners were that a model drew; ``both`` decodes and encodes the winners as well, once in a run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    steps: int = Field(default=50, ge=1)
    guidance: float = Field(default=7.5, ge=0, allow_inf_nan=False)
    sampler: Literal["ddim", "own"] = "ddim"
    eta: float = Field(default=0.0, ge=0, le=1)
    roundtrip: Literal["none", "samples", "both"] = "none"

    @field_validator("roundtrip", mode="before")
    @classmethod
    def _yes_or_no(cls, value: Any) -> Any:
        return {False: "none", True: "samples"}[value] if isinstance(value, bool) else value  # as earlier recipes said


class ClipCandidates(ImageCandidates):
    """Settings of the clips that are sampled for training; a clip is as many frames' worth of work as an image.

    Args:
        steps: Sampling steps.
    """

    steps: int = Field(default=25, ge=1)


def make_candidates(
    frozen: FrozenComponents,
    network: nn.Module,
    prompts: Sequence[str],
    seeds: Sequence[int],
    store: TensorCache,
    keys: Sequence[str],
    *,
    resolution: int,
    mirrored: bool,
    dtype: torch.dtype = torch.float32,
    roundtrip: str = "none",
    **settings: Any,
) -> list[Media]:
    """Samples one candidate per prompt and seed and stores it under its key.

    Args:
        frozen: The components around the network.
        network: The denoiser that samples.
        prompts: One per candidate.
        seeds: One per candidate.
        store: Where the tensors go: ``mean`` and ``std`` ``(V, C, ...)``, ``size`` ``(4,)``.
        keys: One per candidate.
        resolution: Side, px.
        mirrored: Whether training may mirror candidates, so that both views are needed.
        dtype: Precision in which the tensors are kept.
        roundtrip: ``none``: keep the latent; otherwise decode and encode it.
        settings: Of `sampling.sample`: steps, guidance, eta, sampler, batch, count.

    Raises:
        ConfigError: Mirrored views are needed, and there is no round trip to make them.
    """
    if mirrored and roundtrip == "none":
        raise ConfigError(
            "candidates that are sampled as latents cannot be mirrored, but the winners of their pairs are "
            "(model.flip). Type: --set model.flip=none   or, to decode and encode each sample: --set "
            "pairs.roundtrip=samples"
        )
    settings |= {"resolution": resolution, "latents_only": True}
    with frozen.kept_loaded():
        latents = torch.stack(sample(frozen, network, prompts, seeds, **settings))
        if roundtrip == "none":
            _store(store, keys, *frozen.sharp_posterior(latents), resolution, dtype)
        else:
            store_roundtrip(frozen, latents, store, keys, resolution, mirrored=mirrored, dtype=dtype)
    return [CachedCandidate(str(store.root), store.maker, key) for key in keys]


def store_roundtrip(
    frozen: FrozenComponents,
    latents: Tensor,
    store: TensorCache,
    keys: Sequence[str],
    resolution: int,
    *,
    mirrored: bool,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Decodes scaled latents ``(B, C, ...)``, encodes the images, and stores the posteriors under their keys."""
    with frozen.kept_loaded():
        _store(store, keys, *_encoded_again(frozen, latents, mirrored), resolution, dtype)


def _store(
    store: TensorCache, keys: Sequence[str], mean: Tensor, std: Tensor, resolution: int, dtype: torch.dtype
) -> None:
    mean, std, size = mean.to(dtype), std.to(dtype), torch.tensor([resolution, resolution, 0, 0])
    store.put_many({key: {"mean": mean[i], "std": std[i], "size": size} for i, key in enumerate(keys)})


def _encoded_again(frozen: FrozenComponents, latents: Tensor, mirrored: bool) -> tuple[Tensor, Tensor]:
    """The posterior of the decoded image, plain and mirrored: ``(B, V, C, ...)``."""
    images = frozen.decode(latents.to(frozen.device)).clamp(-1.0, 1.0)
    views = [images, images.flip(-1)] if mirrored else [images]
    parts = [frozen.posterior(view) for view in views]
    return torch.stack([mean for mean, _ in parts], 1).cpu(), torch.stack([std for _, std in parts], 1).cpu()

"""The row of a family of denoisers: the one place that knows how its models are loaded, called, encoded and shared.

Latents stay unpacked, ``(B, C, h, w)`` with further axes before ``h`` for video, everywhere outside a row. A family
whose network takes another layout converts in its ``call``, in both directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from diffalign.errors import ConfigError
from diffalign.files.complete_weights import one_sentence
from diffalign.latents.schedule import Schedule
from diffalign.policies.adapters import LayerNames
from diffalign.policies.diffusion.families.load_parts import (
    dtype_keyword,
    load_part,
    load_scheduler,
    load_text_encoder,
    load_tokenizer,
)
from diffalign.policies.diffusion.families.motion_adapter import check_fits, load_with_motion, motion_adapter_of
from diffalign.policies.diffusion.families.source import ModelSource
from diffalign.quiet import quiet

Network = Callable[..., Any]
"""A denoiser, or a function that computes what a denoiser computes with other weights."""


class PromptEncoder(Protocol):
    """The frozen text encoders of a loaded pipeline."""

    modules: list[nn.Module]
    """The encoders, to be moved between devices and hashed."""

    tokenizers: list[Any]
    """One per encoder."""

    identity: str
    """What the tensors depend on besides encoders and tokenizers; part of the cache's keys."""

    def encode(self, prompts: Sequence[str]) -> dict[str, Tensor]:
        """Returns the conditioning of prompts, ``{name: (B, ...)}`` as ``call`` takes it, without gradient."""

    def empty(self) -> dict[str, Tensor]:
        """Returns the conditioning of the unconditional branch of guidance, ``{name: (1, ...)}``."""


@dataclass(frozen=True)
class LatentScale:
    """How the network's latent ``x`` follows from the autoencoder's ``z``: ``x = (z - offset) factor``.

    Args:
        offset: A number, or one per channel, broadcastable to ``(B, C, ...)``.
        factor: Likewise.
    """

    offset: Tensor | float = 0.0
    factor: Tensor | float = 1.0

    def normalise(self, z: Tensor) -> Tensor:
        """Returns ``x`` of ``z``."""
        return (z - self.offset) * self.factor

    def denormalise(self, x: Tensor) -> Tensor:
        """Returns ``z`` of ``x``."""
        return x / self.factor + self.offset

    @property
    def identity(self) -> str:
        """The two numbers, or lists of them, as text."""
        offset, factor = (torch.as_tensor(value).flatten().tolist() for value in (self.offset, self.factor))
        return " ".join(f"{name} {' '.join(f'{n:.7g}' for n in ns)}" for name, ns in (("-", offset), ("x", factor)))

    def to(self, device: torch.device | str) -> LatentScale:
        """Returns the same scale with its tensors on ``device``."""
        offset, factor = (
            value.to(device) if isinstance(value, Tensor) else value for value in (self.offset, self.factor)
        )
        return LatentScale(offset, factor)


class Codec(Protocol):
    """Pixels to the autoencoder's latents and back."""

    autoencoder: str
    """The autoencoder's class in diffusers."""

    def scale(self, vae: nn.Module) -> LatentScale:
        """Returns the scale between the autoencoder's latents and the network's."""

    def posterior(self, vae: nn.Module, pixels: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
        """Returns mean and standard deviation ``(B, C, ...)`` of the latents of pixels in [-1, 1].

        ``at_once`` frames of clips go through the autoencoder together, so that memory does not grow with their number;
        images go as they come.
        """

    def decode(self, vae: nn.Module, latents: Tensor, at_once: int) -> Tensor:
        """Returns pixels in about [-1, 1] of the autoencoder's latents ``(B, C, ...)``; ``at_once`` as above."""


@dataclass(frozen=True)
class SamplingDefaults:
    """What a sample is drawn with where nothing else is set.

    Args:
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance.
    """

    steps: int
    guidance: float


@dataclass(frozen=True, kw_only=True)
class Family:
    """A row of the table.

    Args:
        pipeline: The pipeline's class in diffusers, as ``model_index.json`` names it. Its ``load_lora_weights`` reads
            back the adapter files that are saved for this family, where ``reads_lora``.
        network: The denoiser's class in diffusers.
        component: What the pipeline calls its denoiser: its subfolder, its attribute, and the prefix of its layers in
            an adapter file.
        text_encoders: What the pipeline calls its text encoders: their subfolders and attributes.
        omitted: Parts and settings that the pipeline is opened without, as keywords of ``from_pretrained``.
        medium: What a sample is: ``"image"`` or ``"video"``.
        call: ``call(network, x, time, conditioning, dtype)``: the network's output ``(B, C, ...)`` in one forward pass.
            ``x`` is ``(B, C, ...)``, ``time`` ``(B,)`` as :meth:`~diffalign.latents.Schedule.model_time` gives it,
            ``conditioning`` ``{name: (B, ...)}``, and ``dtype`` that of the network's weights: latents and states are
            cast to it, the output is left as it comes.
        prompt_encoder: Builds the prompt encoder of a loaded pipeline.
        size_conditioning: ``size_conditioning(original, size, fixed)``: conditions that depend on an image's
            size, ``{name: (B, ...)}``. ``original`` is ``(B, 4)``: height, width, top and left of the crop; ``size`` is
            height and width of the pixels. ``fixed`` treats each image as if it had that size, uncropped.
        codec: Its autoencoder.
        schedule: ``schedule(config, resolution)``: the noise levels of a scheduler's configuration.
        resolution_step: ``resolution_step(config, pixels_per_latent)``: the number of pixels that each side must be a
            multiple of, from the network's configuration.
        adapter_layers: Preset of ``model.adapter.targets`` to the names of its layers.
        sampling: Defaults of sampling.
        base: Of a video pipeline that an image pipeline becomes by a motion adapter: that pipeline's class.
        motion: Segments of the paths of the layers that join frames, which ``model.trains: motion`` trains.
        most_frames: ``most_frames(config)``: the longest clip that the network takes, from its configuration; None:
        any. unadaptable: Layers that no adapter can be put on, in the form of ``adapter_layers``.
        checkpointed: Classes of the layers whose activations `gradient_checkpointing` computes twice, besides those
        that
            diffusers' own switch covers.
        blocks: Classes of the blocks that `offload` keeps in host memory, none within another;
            each is checkpointed, or a part of a layer that is.
        own_checkpointing: Whether the network has such a switch.
        reads_lora: Whether the stock pipeline reads adapter files.
    """

    pipeline: str
    network: str
    component: str
    text_encoders: tuple[str, ...]
    omitted: Mapping[str, Any]
    medium: str
    call: Callable[[Network, Tensor, Tensor, Mapping[str, Tensor], torch.dtype], Tensor]
    prompt_encoder: Callable[[Any], PromptEncoder]
    size_conditioning: Callable[[Tensor, tuple[int, int], bool], dict[str, Tensor]]
    codec: Codec
    schedule: Callable[[Mapping[str, Any], int], Schedule]
    resolution_step: Callable[[Any, int], int]
    adapter_layers: LayerNames
    sampling: SamplingDefaults
    base: str = ""
    motion: tuple[str, ...] = ()
    most_frames: Callable[[Mapping[str, Any]], int | None] = lambda config: 1
    unadaptable: tuple[str, ...] = ()
    checkpointed: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ("ResnetBlock2D", "BasicTransformerBlock")
    own_checkpointing: bool = True
    reads_lora: bool = True

    def check(self, source: ModelSource, frames: int) -> None:
        """Raises ConfigError where the parts of a model do not fit each other, or a clip of so many frames does not fit
        them. Only configurations are read.
        """
        config = source.config(self.component)
        if source.motion is not None:
            config = {**config, **check_fits(source, config)}
        taken, given = config.get("in_channels", 4), source.config("vae").get("latent_channels", 4)
        if taken != given:
            raise ConfigError(
                f"the UNet of {source.folder} takes {taken} channels where a latent has {given}: it is an"
                " image-to-video model, whose first frame no prompt gives. Give a text-to-video model."
            )
        most = self.most_frames(config)
        if most is not None and frames > most:
            raise ConfigError(
                f"model.clip.frames is {frames}, but {source.motion or source.folder} knows positions for {most}"
                f" frames. Type: --set model.clip.frames={most}"
            )

    def load_pipeline(self, source: ModelSource, dtype: torch.dtype) -> Any:
        """Loads the pipeline without its denoiser. The autoencoder comes in float32: posteriors are computed once, and
        people look at the images that it decodes. Raises ConfigError where a part is missing or incomplete.
        """
        import diffusers
        import transformers.utils.logging  # noqa: F401  (loaded first, so that its messages are hidden as well)

        folder = source.folder
        with one_sentence(f"{folder} cannot be loaded as a {self.pipeline}"), quiet():
            parts = {name: load_text_encoder(source, name, dtype) for name in self.text_encoders}
            parts["vae"] = load_part(getattr(diffusers, self.codec.autoencoder), folder, "vae", torch.float32)
            for name in self.text_encoders:
                tokenizer = name.replace("text_encoder", "tokenizer")
                if source.holder(tokenizer) != folder:
                    parts[tokenizer] = load_tokenizer(source, tokenizer)
            if source.betas != "own" or source.holder("scheduler") != folder:
                parts["scheduler"] = load_scheduler(source)
            omitted = {self.component: None, **self.omitted}
            return getattr(diffusers, self.pipeline).from_pretrained(folder, **parts, **omitted, **dtype_keyword(dtype))

    def saved_parts(self, network: Any) -> dict[str, Any]:
        """Returns the parts of a whole pipeline that come from its denoiser: with motion modules also an adapter of
        these, without which diffusers does not open every such pipeline.
        """
        adapter = {"motion_adapter": motion_adapter_of(network)} if "motion_adapter" in self.omitted else {}
        return {self.component: network, **adapter}

    def load_network(self, source: ModelSource, dtype: torch.dtype) -> Any:
        """Loads the denoiser. Raises ConfigError where it is missing or incomplete."""
        import diffusers

        with one_sentence(f"{source.folder} cannot be loaded as a {self.pipeline}"):
            if source.motion is not None:
                return load_with_motion(source, self.component, dtype)
            return load_part(getattr(diffusers, self.network), source.folder, self.component, dtype)


def table(*rows: Family) -> dict[str, Family]:
    """Rows by the name of their pipeline."""
    names = [row.pipeline for row in rows]
    assert len(names) == len(set(names)), f"a pipeline occurs twice among {sorted(names)}"
    return {row.pipeline: row for row in rows}

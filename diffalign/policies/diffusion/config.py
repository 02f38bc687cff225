"""The model section of a recipe for denoisers: model, trained weights, reference, and the rules of scoring."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from diffalign.latents import LATENTS
from diffalign.named_choice import Choice, bind_name
from diffalign.policies.config import BaseModelConfig


class LatentChoice(Choice):
    """The latents at which candidates are scored, and the network that inverts. Other keys are an estimator's settings.

    Args:
        name: An estimator of `diffalign.latents`.
        inverter: The network that an inversion follows: ``"policy"`` as it is at that step (as published), or the
            frozen ``"reference"``, whose latents never change. None: the policy.
        store: Compute the reference's latents of planned visits before training and keep them on disk: four latents per
            pair and visit. Exact. It saves time where visits repeat: with ``draws``, and in every later run with the
            same seed.
        refresh: Optimizer steps between two inversions by the policy; latents of the steps between are computed once,
            by the policy at the first of them. 0: at each step (as published).
    """

    inverter: Literal["policy", "reference"] | None = None
    store: bool = False
    refresh: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check_inverter(self) -> LatentChoice:
        bound = LATENTS[bind_name("latents", self.name, LATENTS)].bind(**self.hyper)
        inverter_settings = [name for name in ("inverter", "store", "refresh") if getattr(self, name)]
        if inverter_settings and not bound.needs_network:
            raise ValueError(
                f"latents '{self.name}' needs no network, so there is no {inverter_settings[0]} to set. Leave it out"
            )
        if self.store and self.inverter != "reference":
            raise ValueError(
                "store keeps latents for the whole run, but the policy that computes them changes. Type: "
                "--set latents.inverter=reference   or, to keep them for some steps: --set latents.refresh=100"
            )
        if self.refresh and self.inverter == "reference":
            raise ValueError(
                "the reference never changes, so there is nothing to refresh. Type: --set latents.store=true"
            )
        return self

    @property
    def by_policy(self) -> bool:
        """Whether the policy computes them, so that they are unknown before training."""
        return LATENTS[self.name].needs_network and self.inverter != "reference"


class BucketConfig(BaseModel):
    """Sizes of about one area in several shapes, so that pairs keep theirs; see `data.media.buckets`.

    Args:
        step: Both sides of a size are multiples of it, px. None: the smallest that the network takes.
        widest: Largest ratio of the longer to the shorter side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    step: int | None = Field(default=None, ge=8)
    widest: float = Field(default=2.0, ge=1, le=8)


class RegionConfig(BaseModel):
    """Source of the masks that weight the positions of an image; see `scoring.position_masks`.

    Args:
        kind: ``"files"`` (drawn by hand or by a detector) or ``"activations"`` (of the reference's middle block).
        folder: Folder of the files. The mask of a candidate is ``ID-ROLE.png`` (a pair's id; chosen, rejected),
            otherwise ``NAME.png`` for the candidate ``NAME.jpg``, otherwise ``ID.png``, of any size: it is cropped as
            the candidate is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["files", "activations"]
    folder: Path | None = None

    @model_validator(mode="after")
    def _check_folder(self) -> RegionConfig:
        if (self.kind == "files") != (self.folder is not None):
            files = "need the folder that they are in. Type: --set model.masks.folder=masks"
            activations = "read the reference, no folder. Leave folder out, or take kind: files"
            raise ValueError(f"masks of kind '{self.kind}' {files if self.kind == 'files' else activations}")
        return self


class ModelConfig(BaseModelConfig):
    """A denoiser, its reference, and the rules by which pairs are scored.

    Args:
        adapter: The low-rank adapter that trains; None trains every weight of the denoiser.
        resolution: Side of the square images, px. None takes the model's own.
        buckets: ``true`` or settings of :class:`BucketConfig`: pairs keep their shape, at about the area of the square.
        channels_last: Keep the weights of two-dimensional convolutions, and so images within the network, with their
            channels last. Other kernels, so other rounding; whether they are faster depends on the device.
        caption_dropout: Share of pairs scored without their prompt, which keeps guidance usable; published: 0.2.
        flip: Mirroring with probability 1/2: ``"joint"`` both images of a pair together, ``"independent"`` each image
            separately (the released Diffusion-DPO code), ``"none"``.
        reduction: The surrogate error is a ``"mean"`` over the latent (published betas mean this) or a ``"sum"``.
        timesteps: Noise levels drawn from: two numbers are the range ``[low, high)`` of the schedule's levels; one, or
            more than two, are the levels themselves, as the four of a distilled model, ``[249, 499, 749, 999]``.
        latents: The latents at which candidates are scored, see :class:`LatentChoice`; ``"forward"`` adds noise.
        draws: Number of different draws (level, noise, dropped prompt, mirroring) per pair; visits cycle through them.
            None: a new draw at each visit. Results that are stored by visit are then computed once per pair and draw.
        size_ids: Stable Diffusion XL's size and crop ids: ``"fixed"`` (res, res, 0, 0, res, res), as published, or
            ``"true"``: the chosen image's own size and crop, for both.
        masks: Weights of the positions of an image, for losses that read positions, see :class:`RegionConfig`. None:
            equal weights.
        use_cache: Encode once and store. Off: encoders stay loaded and run at every step.
        encode_batch: Images encoded together during preparation.
    """

    resolution: int | None = Field(default=None, ge=8)
    buckets: BucketConfig | None = None
    channels_last: bool = False
    caption_dropout: float = Field(default=0.2, ge=0, le=1)
    flip: Literal["joint", "independent", "none"] = "joint"
    reduction: Literal["mean", "sum"] = "mean"
    timesteps: tuple[int, int | None] | tuple[int, ...] = (0, None)
    latents: LatentChoice = LatentChoice(name="forward")
    draws: int | None = Field(default=None, ge=1)
    size_ids: Literal["fixed", "true"] = "fixed"
    masks: RegionConfig | None = None
    encode_batch: int = Field(default=8, ge=1)

    @field_validator("buckets", mode="before")
    @classmethod
    def _buckets_or_none(cls, value: Any) -> Any:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check_buckets(self) -> ModelConfig:
        if self.buckets is not None and self.masks is not None:
            raise ValueError(
                "masks are read at one size, but buckets give pairs several. Type: --set model.buckets=false   or: "
                "--set model.masks=null"
            )
        return self

    @model_validator(mode="after")
    def _check_storage(self) -> ModelConfig:
        if self.reference == "stored" and self.latents.by_policy:
            raise ValueError(
                "reference 'stored' computes errors before training, but the policy computes new latents at each step. "
                "Type: --set latents.inverter=reference   or: --set model.reference=auto"
            )
        if self.latents.store and not self.use_cache:
            raise ValueError("latents.store keeps latents in the cache, but use_cache is false. Set one of the two")
        low, high = self.level_range
        if low < 0 or (high is not None and high <= low):
            raise ValueError(
                "timesteps is [low, high) with 0 <= low < high, or a list of one level or of more than two; "
                f"got {list(self.timesteps)}"
            )
        return self

    @property
    def level_list(self) -> tuple[int, ...]:
        """The levels where ``timesteps`` lists them, otherwise none."""
        return () if len(self.timesteps) == 2 else tuple(level for level in self.timesteps if level is not None)

    @property
    def level_range(self) -> tuple[int, int | None]:
        """``(low, high)``: the levels drawn are in ``[low, high)``; None: up to the schedule's last."""
        if len(self.timesteps) == 2:
            low, high = self.timesteps
            return low or 0, high
        return (min(self.level_list), max(self.level_list) + 1) if self.level_list else (0, 0)

    @property
    def may_store(self) -> bool:
        """Whether the reference's errors can be computed, and kept, before training."""
        return self.use_cache and not self.latents.by_policy

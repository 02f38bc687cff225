"""What a recipe says of the model: where it is, what trains, what it is compared with, and how pairs are judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from diffalign.latents import LATENTS
from diffalign.named_choice import Choice, bind_name
from diffalign.policies.config import BaseModelConfig
from diffalign.policies.diffusion.scoring.position_masks import RegionConfig


class LatentChoice(Choice):
    """Where candidates are judged, and by whom an inversion is done. Other keys are the estimator's own settings.

    Args:
        name: An estimator of `diffalign.latents`.
        inverter: The network that an inversion asks: ``"policy"`` as it is at that step (as published), or the frozen
            ``"reference"``, whose latents never change. None: the policy.
        store: Keep what the reference found on disk, for planned visits, before training: four latents per pair and
            visit. Exact. It saves where visits repeat: with ``draws``, and in every later run with the same seed.
        refresh: Optimizer steps between two inversions by the policy; within them latents are found once, by the policy
            as it was at their beginning. 0: at each step anew (as published).
    """

    inverter: Literal["policy", "reference"] | None = None
    store: bool = False
    refresh: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _fits(self) -> LatentChoice:
        bound = LATENTS[bind_name("latents", self.name, LATENTS)].bind(**self.hyper)
        given = [name for name in ("inverter", "store", "refresh") if getattr(self, name)]
        if given and not bound.asks:
            raise ValueError(f"latents '{self.name}' asks no network, so there is no {given[0]} to set. Leave it out")
        if self.store and self.inverter != "reference":
            raise ValueError(
                "store keeps latents for the whole run, but the policy that finds them moves. Type: "
                "--set latents.inverter=reference   or, to keep them for a while: --set latents.refresh=100"
            )
        if self.refresh and self.inverter == "reference":
            raise ValueError(
                "the reference never moves, so there is nothing to refresh. Type: --set latents.store=true"
            )
        return self

    @property
    def move(self) -> bool:
        """Whether the policy finds them, so that they are not known before training."""
        return LATENTS[self.name].asks and self.inverter != "reference"


class ModelConfig(BaseModelConfig):
    """A denoiser, its reference, and the rules by which pairs are judged.

    Args:
        adapter: The low-rank adapter that trains; None trains every weight of the denoiser.
        resolution: Side of the square images, px. None takes the model's own.
        caption_dropout: Share of pairs judged without their prompt, which keeps guidance alive; published: 0.2.
        flip: Mirroring with probability 1/2: ``"joint"`` both images of a pair together, ``"independent"`` each for
            itself (the released Diffusion-DPO code), ``"none"``.
        reduction: The surrogate error is a ``"mean"`` over the latent (published betas mean this) or a ``"sum"``.
        timesteps: Noise levels drawn from, ``[low, high)`` of the schedule's.
        latents: Where candidates are judged, see :class:`LatentChoice`; ``"forward"`` adds noise.
        draws: How many different draws (level, noise, lost prompt, mirroring) a pair is met with; they return in turn.
            None: a new one at each visit. What is stored by visit is then computed so many times per pair and no more.
        size_ids: Stable Diffusion XL's size and crop ids: ``"fixed"`` (res, res, 0, 0, res, res), as published, or
            ``"true"``: the chosen image's own size and crop, for both.
        masks: How much each position of an image counts, for losses that look at positions, see `masks`. None: all
            alike.
        use_cache: Encode once and store. Off: encoders stay and run at every step.
        encode_batch: Images encoded together while preparing.
    """

    resolution: int | None = Field(default=None, ge=8)
    caption_dropout: float = Field(default=0.2, ge=0, le=1)
    flip: Literal["joint", "independent", "none"] = "joint"
    reduction: Literal["mean", "sum"] = "mean"
    timesteps: tuple[int, int | None] = (0, None)
    latents: LatentChoice = LatentChoice(name="forward")
    draws: int | None = Field(default=None, ge=1)
    size_ids: Literal["fixed", "true"] = "fixed"
    masks: RegionConfig | None = None
    encode_batch: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _agree(self) -> ModelConfig:
        if self.reference == "stored" and self.latents.move:
            raise ValueError(
                "reference 'stored' computes errors before training, but the policy finds latents anew at each step. "
                "Type: --set latents.inverter=reference   or: --set model.reference=auto"
            )
        if self.latents.store and not self.use_cache:
            raise ValueError("latents.store keeps latents in the cache, but use_cache is false. Set one of the two")
        low, high = self.timesteps
        if low < 0 or (high is not None and high <= low):
            raise ValueError(f"timesteps is [low, high) with 0 <= low < high, got {self.timesteps}")
        return self

    @property
    def may_store(self) -> bool:
        """Whether the reference's errors can be known, and kept, before training."""
        return self.use_cache and not self.latents.move

"""The recipe: everything that decides a run, as frozen values. Each section stands for one part of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_serializer, field_validator, model_validator

from diffalign.named_choice import Choice
from diffalign.training.recipe.apply_preset import with_preset
from diffalign.training.recipe.bind import as_choice, bind_label, bind_loss, bind_pairs
from diffalign.training.recipe.model_kinds import kind_of, model_kind, resolve_model


class Section(BaseModel):
    """A part of a recipe: frozen, and closed against unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Data(Section):
    """Which pairs. ``train`` and ``eval`` are a folder, a file or a Hub id; ``limit`` takes the first so many."""

    train: str
    format: str = "auto"
    limit: int | None = Field(default=None, ge=1)
    scores: tuple[str, ...] = Field(default=(), description="files of scores, as `diffalign score` writes them")
    options: Mapping[str, Any] = Field(default_factory=dict, description="further arguments of the reader")
    eval: str | None = Field(default=None, description="held-out pairs: their implicit accuracy is logged")
    eval_options: Mapping[str, Any] = Field(default_factory=dict, description="as options, for the held-out pairs")
    eval_scores: tuple[str, ...] = Field(default=(), description="as scores, for the held-out pairs")
    eval_limit: int = Field(default=64, ge=1)
    eval_every: int = Field(
        default=0, ge=0, description="steps between looks at the held-out pairs; 0: at the end only"
    )


class Chase(Section):
    """Two adapters, a fast and a slow one, that chase each other (OFS-DPO); the fast one is what is shared.

    ``alpha`` weighs the chase, ``rate`` is the slow one's learning rate as a share of the fast one's, and every
    ``interval`` steps it is decided anew who is fast.
    """

    alpha: float = Field(default=0.1, ge=0)
    rate: float = Field(default=0.1, gt=0, le=1)
    interval: int = Field(default=50, ge=1)


class Train(Section):
    """The optimizer's side. ``batch_size`` is effective, in pairs: over all processes and micro-batches."""

    steps: int = Field(ge=1)
    batch_size: int = Field(default=8, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1, description="pairs in memory at once; unset: at most 8")
    learning_rate: float = Field(gt=0)
    scale_lr: bool = Field(default=False, description="multiply the learning rate by batch_size")
    schedule: Literal["constant", "linear", "cosine", "constant_with_warmup"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    optimizer: Literal["adamw", "adafactor", "adamw8bit", "sgd"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float | None = Field(default=1.0, gt=0, description="null: no clipping")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 where the device computes it faster than float32, otherwise no"
    )
    ema_decay: float | None = Field(default=None, ge=0, lt=1)
    seed: int = Field(default=0, ge=0)
    draws_per_pair: int | None = Field(
        default=None, ge=1, description="noises that a denoiser's scores are means over; unset: 2 for squared losses"
    )
    previous_every: int = Field(
        default=0, ge=0, description="steps between two looks back, for losses that read the policy as it was; 0: never"
    )
    fast_slow: Chase | None = Field(default=None, description="two adapters that chase each other; {}: usual values")
    group_robust: float | None = Field(
        default=None, gt=0, description="weighs groups of pairs by softmax(mean loss / this): small is the worst group"
    )
    gradient_checkpointing: bool | None = Field(default=None, description="unset: as the model's section says")

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _yaml_no(cls, value: Any) -> Any:
        return "no" if value is False else value  # YAML 1.1 reads a bare no as false

    @model_validator(mode="after")
    def _warmup_has_a_schedule(self) -> Train:
        if self.warmup_steps and self.schedule == "constant":
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}, but schedule 'constant' has no warm-up. "
                "Type: --set train.schedule=constant_with_warmup   or: --set train.warmup_steps=0"
            )
        return self


class Log(Section):
    """Metrics are means over ``every`` steps. ``trackers`` beside the JSON lines: tensorboard, wandb, ..."""

    every: int = Field(default=10, ge=1)
    trackers: tuple[str, ...] = ()


class Checkpoints(Section):
    """A checkpoint each ``every`` steps and after the last; the last ``keep`` stay. ``every: 0``: the last alone."""

    every: int = Field(default=100, ge=0)
    keep: int = Field(default=2, ge=1)


class Sampled(Section):
    """A section with samples: every further key is a sampling setting, of those that the model's kind has."""

    model_config = ConfigDict(extra="allow")

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling settings, for :meth:`~diffalign.policies.policy.Policy.sample`."""
        return dict(self.model_extra or {})


class Previews(Sampled):
    """Samples of fixed prompts and seeds before, while (each ``every`` steps; 0: never) and after training."""

    prompts: tuple[str, ...] = ()
    every: int = Field(default=0, ge=0)
    seeds: tuple[int, ...] = (0,)


class Evaluate(Sampled):
    """The comparison with the base after training; none without prompts. A prompt ``@FILE`` stands for a file's lines.

    ``trained_on`` names judges that made the training pairs: a report shows them apart from the held-out ``scorers``.
    """

    prompts: tuple[str, ...] = ()
    scorers: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    seeds_per_prompt: int = Field(default=1, ge=1)
    batch: int = Field(default=8, ge=1, description="samples made at once")


class Guard(Section):
    """What happens at a spike: ``patience`` steps in a row that stand ``threshold`` robust deviations above the last
    ``window``. ``rollback`` goes back to the last checkpoint and leaves the offending batches out, ``skip`` drops each
    outlying step, ``stop`` ends the run, ``warn`` says it, ``off`` does not look."""

    action: Literal["rollback", "skip", "stop", "warn", "off"] = "rollback"
    threshold: float = Field(default=10.0, gt=0)
    window: int = Field(default=50, ge=5)
    patience: int = Field(default=3, ge=1)
    max_rollbacks: int = Field(default=3, ge=0)
    max_skips: int = Field(default=20, ge=0)


class Recipe(Section):
    """A run. Read it from YAML with :func:`~diffalign.training.recipe.load.load_recipe`.

    ``method`` names a preset whose values are defaults here. ``model.kind`` says which policy is built (unset: what
    the model's folder looks like, else ``image``); the rest of ``model`` is that policy's own, and so are the sampling
    settings in ``previews``, ``evaluate`` and ``pairs``. ``pairs``, ``latents``, ``labels`` and ``loss`` are the four
    choices; ``latents`` may stand beside the others and belongs to the model's section. ``loss`` may be a list: a sum,
    each with its factor ``times``; the first one leads.
    """

    method: str | None = None
    model: Any
    data: Data
    pairs: Choice = Choice(name="dataset")
    labels: Choice = Choice(name="hard")
    loss: Choice
    train: Train
    log: Log = Log()
    checkpoint: Checkpoints = Checkpoints()
    previews: Previews = Field(default=Previews(), validate_default=True)
    evaluate: Evaluate = Field(default=Evaluate(), validate_default=True)
    guard: Guard = Guard()
    output: str

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, values: Any) -> Any:
        return with_preset(values) if isinstance(values, Mapping) else values

    @field_validator("model", mode="before")
    @classmethod
    def _model(cls, value: Any) -> Any:
        return resolve_model(value)

    @field_validator("loss", mode="before")
    @classmethod
    def _losses(cls, value: Any) -> Any:
        return as_choice(value)

    @field_validator("loss")
    @classmethod
    def _loss(cls, value: Choice) -> Choice:
        bind_loss(value)  # raises where a name or a value is wrong
        return value

    @field_validator("pairs")
    @classmethod
    def _pairs(cls, value: Choice, info: ValidationInfo) -> Choice:
        if (model := info.data.get("model")) is not None:  # else what is wrong with it is told, and this is not known
            bind_pairs(value, model_kind(model).candidates())
        return value

    @field_validator("previews", "evaluate")
    @classmethod
    def _sampling(cls, value: Sampled, info: ValidationInfo) -> Sampled:
        if (model := info.data.get("model")) is None:
            return value
        settings = model_kind(model).sampling().model_validate(value.sampling)
        own = {name: getattr(value, name) for name in type(value).model_fields}
        return type(value).model_validate({**own, **settings.model_dump()})

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: Choice) -> Choice:
        bind_label(value)([])  # of no pairs: settings that are out of their range are told here
        return value

    @field_serializer("model")
    def _dump_model(self, value: Any) -> dict[str, Any]:
        return {"kind": kind_of(value), **value.model_dump(mode="json")}

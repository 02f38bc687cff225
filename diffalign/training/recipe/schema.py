"""The schema of a recipe: everything that decides a run, as frozen values, one section for each part of the loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_serializer, field_validator, model_validator

from diffalign.named_choice import Choice
from diffalign.plugins import load_plugins
from diffalign.training.recipe.apply_preset import with_preset
from diffalign.training.recipe.bind import as_choice, bind_label, bind_loss, bind_pairs
from diffalign.training.recipe.model_kinds import kind_of, model_kind, resolve_model

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""A whole number that every generator takes."""
Share = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A part of a recipe: frozen, without unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Data(Section):
    """The pairs. ``train`` and ``eval`` are a folder, a file or a Hub id; ``limit`` takes the first N rows."""

    train: str
    format: str = "auto"
    limit: int | None = Field(default=None, ge=1)
    scores: tuple[str, ...] = Field(default=(), description="files of scores, as `diffalign score` writes them")
    latents: str | None = Field(
        default=None, description="kept latents of the images, a file: scored instead of encoding the images"
    )
    options: Mapping[str, Any] = Field(default_factory=dict, description="additional arguments of the reader")
    eval: str | None = Field(default=None, description="held-out pairs: their implicit accuracy is logged")
    eval_options: Mapping[str, Any] = Field(default_factory=dict, description="as options, for the held-out pairs")
    eval_scores: tuple[str, ...] = Field(default=(), description="as scores, for the held-out pairs")
    eval_latents: str | None = Field(default=None, description="as latents, for the held-out pairs")
    eval_limit: int = Field(default=64, ge=1)
    eval_every: int = Field(
        default=0, ge=0, description="steps between evaluations of the held-out pairs; 0: at the end only"
    )


class FastSlowConfig(Section):
    """A fast and a slow adapter, each driven by the other's margin (OFS-DPO). The result is the fast one.

    ``alpha`` weighs the gap terms, ``rate`` is the slow adapter's learning rate as a share of the fast one's. Every
    ``interval`` steps the adapter with the smaller mean loss becomes the fast one.
    """

    alpha: float = Field(default=0.1, ge=0)
    rate: float = Field(default=0.1, gt=0, le=1)
    interval: int = Field(default=50, ge=1)


class Train(Section):
    """Optimization. ``batch_size`` is the effective one, in pairs, over all processes and micro-batches."""

    steps: int = Field(ge=1, le=10**9)
    batch_size: int = Field(default=8, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1, description="pairs in memory at once; unset: at most 8")
    micro_batch_tokens: int | None = Field(
        default=None, ge=1, description="of texts, tokens in memory at once, in place of micro_batch_size"
    )
    learning_rate: float = Field(gt=0)
    scale_lr: bool = Field(default=False, description="multiply the learning rate by batch_size")
    schedule: Literal["constant", "linear", "cosine", "constant_with_warmup"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    optimizer: Literal["adamw", "adafactor", "adamw8bit", "paged_adamw8bit", "sgd"] = "adamw"
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float | None = Field(default=1.0, gt=0, description="null: no clipping")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] = Field(
        default="auto", description="auto: bf16 where the device computes it faster than float32, otherwise no"
    )
    ema_decay: float | None = Field(default=None, ge=0, lt=1)
    seed: Seed = 0
    draws_per_pair: int | None = Field(
        default=None,
        ge=1,
        description="draws over which a denoiser's log-probabilities are averaged; unset: 2 for squared losses",
    )
    previous_every: int = Field(
        default=0,
        ge=0,
        description="steps between two snapshots, for losses that read the policy as it was; 0: only the first",
    )
    fast_slow: FastSlowConfig | None = Field(
        default=None, description="a fast and a slow adapter; {}: usual values; null: one adapter"
    )
    group_robust: float | None = Field(
        default=None,
        gt=0,
        description="weighs groups of pairs by softmax(mean loss / value); a small value takes only the worst group",
    )
    gradient_checkpointing: bool | None = Field(default=None, description="unset: as in the model section")

    @field_validator("mixed_precision", mode="before")
    @classmethod
    def _yaml_no(cls, value: Any) -> Any:
        return "no" if value is False else value  # YAML 1.1 reads a bare no as false

    @model_validator(mode="after")
    def _one_limit_of_micro_batches(self) -> Train:
        if self.micro_batch_size is not None and self.micro_batch_tokens is not None:
            raise ValueError(
                f"micro_batch_size is {self.micro_batch_size} and micro_batch_tokens {self.micro_batch_tokens}, but "
                "only one of them cuts a batch. Type: --set train.micro_batch_size=null   or: --set "
                "train.micro_batch_tokens=null"
            )
        return self

    @model_validator(mode="after")
    def _warmup_has_a_schedule(self) -> Train:
        if self.warmup_steps and self.schedule == "constant":
            raise ValueError(
                f"warmup_steps is {self.warmup_steps}, but schedule 'constant' has no warm-up. "
                "Type: --set train.schedule=constant_with_warmup   or: --set train.warmup_steps=0"
            )
        return self


class Log(Section):
    """Metrics are means over ``every`` steps. ``trackers`` in addition to the JSON lines: tensorboard, wandb, ..."""

    every: int = Field(default=10, ge=1)
    trackers: tuple[str, ...] = ()


class Checkpoints(Section):
    """A checkpoint each ``every`` steps and after the last; the last ``keep`` are kept. ``every: 0``: only the last."""

    every: int = Field(default=100, ge=0)
    keep: int = Field(default=2, ge=1)


class Sampled(Section):
    """A section with samples: every additional key is a sampling setting of the model's kind."""

    model_config = ConfigDict(extra="allow")

    @property
    def sampling(self) -> dict[str, Any]:
        """The sampling settings, for :meth:`~diffalign.policies.policy.Policy.sample`."""
        return dict(self.model_extra or {})


class Previews(Sampled):
    """Samples of fixed prompts and seeds before, during (each ``every`` steps; 0: never) and after training."""

    prompts: tuple[str, ...] = ()
    every: int = Field(default=0, ge=0)
    seeds: tuple[Seed, ...] = (0,)


class Evaluate(Sampled):
    """The comparison with the base after training; none without prompts. A prompt ``@FILE`` means the lines of a file.
    ``@suite:NAME:FILE`` means a published suite, and the report has win rates by its categories.

    ``trained_on`` names judges that made the training pairs: a report separates them from the held-out ``scorers``.
    """

    prompts: tuple[str, ...] = ()
    scorers: tuple[str, ...] = ()
    trained_on: tuple[str, ...] = ()
    seeds_per_prompt: int = Field(default=1, ge=1)
    batch: int = Field(default=8, ge=1, description="samples per batch")


class Guard(Section):
    """The reaction to a spike: ``patience`` steps in a row that are ``threshold`` robust deviations above the last
    ``window``. ``rollback`` returns to the last checkpoint and leaves the batches of the spike out, ``skip`` leaves
    each outlying update out, ``stop`` ends the run, ``warn`` prints a warning, ``off`` checks nothing.
    """

    action: Literal["rollback", "skip", "stop", "warn", "off"] = "rollback"
    threshold: float = Field(default=10.0, gt=0)
    window: int = Field(default=50, ge=5)
    patience: int = Field(default=3, ge=1)
    max_rollbacks: int = Field(default=3, ge=0)
    max_skips: int = Field(default=20, ge=0)


class Recipe(Section):
    """A run. Read it from YAML with :func:`~diffalign.training.recipe.load.load_recipe`.

    ``method`` names a preset whose values are defaults here. ``plugins`` are modules or files of Python whose losses,
    scorers, readers, labels and methods it may name. ``model.kind`` names the kind of policy (unset: the kind
    that the model's folder has, otherwise ``image``); the rest of ``model`` are settings of this kind, and so are the
    sampling settings in ``previews``, ``evaluate`` and ``pairs``. ``pairs``, ``latents``, ``labels`` and ``loss`` are
    the four choices; ``latents`` belongs to the model section and may also be given next to the others. ``loss`` may be
    a list: a sum, each term with its factor ``times``; the first one leads.
    """

    method: str | None = None
    plugins: tuple[str, ...] = ()
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
        if not isinstance(values, Mapping):
            return values
        if values.get("plugins"):  # first of all: what they register may be named below
            values = {**values, "plugins": load_plugins(values["plugins"])}
        return with_preset(values)

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
        if (model := info.data.get("model")) is not None:  # otherwise pydantic reports the error in the model section
            bind_pairs(value, model_kind(model).candidates())
        return value

    @field_validator("previews", "evaluate")
    @classmethod
    def _sampling(cls, value: Sampled, info: ValidationInfo) -> Sampled:
        if (model := info.data.get("model")) is None:
            return value
        settings = model_kind(model).sampling().model_validate(value.sampling)
        fields = {name: getattr(value, name) for name in type(value).model_fields}
        return type(value).model_validate({**fields, **settings.model_dump()})

    @field_validator("labels")
    @classmethod
    def _labels(cls, value: Choice) -> Choice:
        bind_label(value)([])  # of no pairs: raises for settings that are out of range
        return value

    @field_serializer("model")
    def _dump_model(self, value: Any) -> dict[str, Any]:
        return {"kind": kind_of(value), **value.model_dump(mode="json")}

"""Settings of a language model: where it is, how texts become tokens, and which extra heads train with it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffalign.policies.config import BaseModelConfig

Activation = Literal["residual", "attention", "queries", "keys", "values", "mlp", "logits"]
ACTIVATIONS: tuple[Activation, ...] = ("residual", "attention", "queries", "keys", "values", "mlp", "logits")


class SpanConfig(BaseModel):
    """Which tokens of a response are scored if the model thinks before it answers, see `tokens.spans`.

    Args:
        end: The token that ends a thought.
        start: The token that begins a thought; required with ``hide``.
        hide: Share of the tokens within each thought that are not scored, (0, 1]. None: tokens before the last ``end``
            are not scored.
        include_marker: Without ``hide``: whether the last ``end`` itself is scored, so that the model learns to stop
            thinking.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    end: str
    start: str | None = None
    hide: float | None = Field(default=None, gt=0, le=1)
    include_marker: bool = True

    @model_validator(mode="after")
    def _check(self) -> SpanConfig:
        if self.hide is not None and self.start is None:
            raise ValueError("score_spans.hide hides tokens between two markers; name the first: start: <think>")
        if self.hide is None and self.start is not None:
            raise ValueError(
                "score_spans scores what follows the last end, so it reads no start. Leave it out, or hide a share of "
                "what is between: hide: 1.0"
            )
        if self.hide is not None and "include_marker" in self.model_fields_set:
            raise ValueError("with score_spans.hide the markers are always scored; leave include_marker out")
        return self

    def describe(self) -> str:
        """Returns the rule in a few words, for a header."""
        if self.hide is not None:
            return f"{self.hide:.0%} of the tokens between {self.start} and {self.end} not scored"
        return f"scored from the last {self.end} on" if self.include_marker else f"scored after the last {self.end}"


class MaskConfig(BaseModel):
    """Where token masks come from, see `network.token_masks`.

    Args:
        kind: ``"activations"``, ``"learned"`` or ``"learned_independent"``.
        of: Activations that are read. Those that an architecture lacks are left out (GPT-2 has no separate queries).
        layers: Learned masks read ``"all"`` layers or only the ``"last"``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["activations", "learned", "learned_independent"]
    of: tuple[Activation, ...] = ACTIVATIONS
    layers: Literal["all", "last"] = "all"

    @model_validator(mode="after")
    def _check(self) -> MaskConfig:
        if self.learned and self.of != ACTIVATIONS:
            raise ValueError(f"masks of kind '{self.kind}' read states, not activations: leave masks.of out")
        if not self.learned and self.layers != "all":
            raise ValueError("masks.layers is for learned masks; activations are read in all layers. Leave it out")
        if not self.of:
            raise ValueError(f"masks.of names the activations to read, of {', '.join(ACTIVATIONS)}; it is empty")
        return self

    @property
    def learned(self) -> bool:
        """Whether a mask network trains."""
        return self.kind != "activations"

    def describe(self) -> str:
        """Returns one line for a header."""
        if not self.learned:
            return f"from the reference's activations ({', '.join(self.of)})"
        layers = "all layers" if self.layers == "all" else "the last layer"
        return f"learned from {layers}, {'one for each term' if self.kind != 'learned' else 'one for both terms'}"


class DegreeConfig(BaseModel):
    """Shares of an answer's tokens to remove, for the loss that predicts the share; see `network.content_degree_head`.

    Args:
        removed: Share of the rarest tokens that each degree leaves out, ascending from 0, below 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    removed: tuple[float, ...] = Field(default=(0.0, 0.25, 0.5, 0.75), min_length=2)

    @model_validator(mode="after")
    def _check(self) -> DegreeConfig:
        if self.removed[0] != 0.0 or any(a >= b for a, b in pairwise(self.removed)) or self.removed[-1] >= 1.0:
            raise ValueError(
                f"removed holds shares that grow from 0 and stay below 1; got {list(self.removed)}. "
                "Type for example: --set model.degree.removed=[0,0.25,0.5,0.75]"
            )
        return self

    def describe(self) -> str:
        """Returns one line for a header."""
        shares = ", ".join(f"{share:.0%}" for share in self.removed)
        return f"{len(self.removed)} degrees, without {shares} of the tokens"


class LanguageConfig(BaseModelConfig):
    """A causal language model, its reference, and the rules by which texts become tokens.

    Args:
        gguf_file: Name of a GGUF file within ``path`` that holds the weights.
        chat_template: A Jinja template, or a file that holds one. None: the tokenizer's own.
        end_token: The token that ends a response. None: the tokenizer's own.
        system: A system turn that is put before conversations without one.
        max_length: Tokens of prompt and response together; responses are truncated at their end. None: no limit.
        max_prompt_length: Tokens of a prompt. None: all but one of ``max_length``.
        long_prompts: What to do with a longer prompt: ``"error"`` before training, ``"keep_end"`` or ``"keep_start"``.
        forward: ``"shared"`` computes each prompt once for all its responses, without padding; ``"padded"`` computes a
            row per response; ``"plain"`` the same with logits at every position; ``"auto"`` the first of them that a
            trial finds correct for this architecture.
        shared_start: What to do with the tokens that all responses of a pair begin with: ``"answer"`` scores them,
            which changes no difference of sums; ``"prompt"`` appends them to the prompt, computed once and not scored,
            so that a pair is compared from its first difference on (steps of a solution).
        add_end: Whether a response ends with the end token even if its text does not. False: for steps of a solution,
            where only the text of a last step contains the token.
        score_spans: Which tokens of a response are scored. None: all.
        masks: Weights of tokens, for losses that read tokens. None: all equal.
        degree: Shares of tokens to remove, for the loss `degree`. None: no such head.
        head_memory: MiB of logits that are kept for the backward pass; beyond it they are recomputed.
    """

    gguf_file: str | None = None
    chat_template: str | Path | None = None
    end_token: str | None = None
    system: str | None = None
    max_length: int | None = Field(default=1024, ge=2)
    max_prompt_length: int | None = Field(default=None, ge=1)
    long_prompts: Literal["error", "keep_end", "keep_start"] = "error"
    forward: Literal["auto", "shared", "padded", "plain"] = "auto"
    shared_start: Literal["answer", "prompt"] = "answer"
    add_end: bool = True
    score_spans: SpanConfig | None = None
    masks: MaskConfig | None = None
    degree: DegreeConfig | None = None
    head_memory: int = Field(default=512, ge=0)

    @model_validator(mode="after")
    def _check_lengths(self) -> LanguageConfig:
        if self.max_length and self.max_prompt_length and self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length is {self.max_prompt_length}, which leaves no room for a response within max_length "
                f"{self.max_length}. Type: --set model.max_length={2 * self.max_prompt_length}"
            )
        return self

    @property
    def prompt_limit(self) -> int | None:
        """The largest number of tokens of a prompt."""
        return self.max_prompt_length or (self.max_length - 1 if self.max_length else None)

"""What a recipe says of a language model: where it is, how texts become tokens, and how they are computed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from diffalign.policies.config import BaseModelConfig
from diffalign.policies.language.network.content_degree_head import DegreeConfig
from diffalign.policies.language.network.token_masks import MaskConfig
from diffalign.policies.language.tokens.spans import SpanRule


class LanguageConfig(BaseModelConfig):
    """A causal language model, its reference, and the rules by which texts are read.

    Args:
        gguf_file: Name of a GGUF file within ``path``, where the weights come in one.
        chat_template: A Jinja template, or a file that holds one. None takes the tokenizer's own.
        end_token: The token that ends a response. None takes the tokenizer's own.
        system: A system turn put before conversations that have none.
        max_length: Tokens of prompt and response together; responses are cut at their end. None: no limit.
        max_prompt_length: Tokens of a prompt. None: all but one of ``max_length``.
        long_prompts: What happens to a longer prompt: ``"error"`` before training, ``"keep_end"`` or ``"keep_start"``.
        forward: ``"shared"`` computes each prompt once for all its responses, and no padding; ``"padded"`` a row per
            response; ``"plain"`` the same with logits at every position; ``"auto"`` the first that this architecture
            can, by a trial.
        shared_start: What becomes of the tokens that all responses of a pair begin with: ``"answer"`` scores them, for
            nothing where sums are compared; ``"prompt"`` makes them the prompt's end, computed once and not scored, so
            that a pair is judged from its first difference on (steps of a solution).
        add_end: Whether a response ends with the end token even where its text does not. False: for steps, behind which
            the answer goes on; a last step then carries the token in its text.
        score_spans: Which tokens of a response are scored where it thinks before it answers, see `spans`. None: all.
        masks: How much each token counts, for losses that look at tokens, see `masks`. None: all alike.
        degree: How answers are thinned out, for the loss that tells by how much, see `degree`. None: not at all.
        head_memory: MiB of logits that are kept for the backward pass; above it they are computed once more.
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
    score_spans: SpanRule | None = None
    masks: MaskConfig | None = None
    degree: DegreeConfig | None = None
    head_memory: int = Field(default=512, ge=0)

    @model_validator(mode="after")
    def _room_for_a_response(self) -> LanguageConfig:
        if self.max_length and self.max_prompt_length and self.max_prompt_length >= self.max_length:
            raise ValueError(
                f"max_prompt_length is {self.max_prompt_length}, which leaves no room for a response within max_length "
                f"{self.max_length}. Type: --set model.max_length={2 * self.max_prompt_length}"
            )
        return self

    @property
    def prompt_limit(self) -> int | None:
        """Tokens that a prompt may have."""
        return self.max_prompt_length or (self.max_length - 1 if self.max_length else None)

"""Reward models: scores of a model that was trained on human choices between two answers.

    score_b = r(c_b, x_b)            difference of two scores of one prompt = logit of "the first is preferred"

Supports every sequence classifier of transformers with one label. With a chat template, prompt and answer are turns of
one chat. Without one, a tokenizer that separates two texts (such as BERT's) receives both, any other the concatenation
of prompt and answer. Texts that are too long are truncated at the beginning. Always float32: a bfloat16 reward has
steps of 1/16 at 10.

Source: Ouyang et al. 2022 (arXiv 2203.02155), section 3.5, eq. 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from diffalign.data.records.conversation import Conversation
from diffalign.errors import DataError, UserError
from diffalign.files.complete_weights import load_pretrained, one_sentence
from diffalign.quiet import quiet
from diffalign.scorers.compare import ComparesByScore
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash
from diffalign.scorers.texts.text_input import as_answer, as_chat

EXAMPLE = "reward:Skywork/Skywork-Reward-V2-Qwen3-0.6B"


class Reward(ComparesByScore):
    """A reward model as a scorer.

    Args:
        model: The classifier of one label, already on its device.
        tokenizer: Its tokenizer.
        name: Its name in reports.
        batch_size: Texts per forward pass; the scores do not depend on it.
    """

    medium = "text"
    unit = "logit"
    logits_per_unit = 1.0
    range = (float("-inf"), float("inf"))
    license = "see the model's page"
    paper = "arXiv 2203.02155"

    def __init__(self, model: Any, tokenizer: Any, *, name: str = "reward", batch_size: int = 8) -> None:
        self.model, self.tokenizer = model.eval().requires_grad_(False), tokenizer
        self.name, self.batch_size = name, batch_size

    @classmethod
    def load(cls, argument: str = "", device: str = "cpu") -> Reward:
        """Loads a folder or hub id.

        Raises:
            UserError: The argument is missing, or names no classifier of texts with one label.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        if not argument:
            raise UserError(f"reward needs a model: write reward:FOLDER or reward:HUB_ID, as in {EXAMPLE}")
        advice = f"Expected a folder or a hub id with config.json, weights and a tokenizer, as in --scorer {EXAMPLE}"
        with one_sentence(f"Cannot load a reward model from '{argument}'", UserError, advice), quiet():
            model = load_pretrained(AutoModelForSequenceClassification, argument, error=UserError, advice=advice)
            tokenizer = AutoTokenizer.from_pretrained(argument)
        if model.config.num_labels != 1:
            raise UserError(
                f"'{argument}' has {model.config.num_labels} classes, so it is no reward model. Expected a sequence "
                f"classifier with one label, as in --scorer {EXAMPLE}"
            )
        return cls(model.float().to(device), tokenizer, name=f"reward:{argument}")

    @cached_property
    def weights(self) -> str:
        """Hash of the model's parameters, computed on first access."""
        return state_hash(self.model.state_dict())

    def check_prompts(self, prompts: Sequence[Any]) -> None:
        """Raises :class:`DataError` when a prompt is a conversation and the model has no chat template."""
        for prompt in prompts:
            self._plain_text(prompt)

    @torch.no_grad()
    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Returns rewards, ``(B,)`` float32."""
        check_prompt_count(prompts, texts)
        rows = [self._encode(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        # sorted by length, for less padding
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
        scores = torch.zeros(len(rows))
        for part in chunks(order, self.batch_size):
            scores[list(part)] = self._score_batch([rows[row] for row in part])
        return scores

    def _encode(self, prompt: Any, text: Any) -> dict[str, list[int]]:
        options = {"truncation": True, "max_length": self._max_length, "verbose": False}
        self.tokenizer.truncation_side = "left"
        if self.tokenizer.chat_template is not None:
            return dict(self.tokenizer(self._apply_template(prompt, text), add_special_tokens=False, **options))
        plain_prompt, plain_answer = self._plain_text(prompt), self._plain_text(text)
        if self.tokenizer.sep_token is not None:
            return dict(self.tokenizer(plain_prompt, plain_answer, **{**options, "truncation": "longest_first"}))
        return dict(self.tokenizer(plain_prompt + plain_answer, **options))

    def _apply_template(self, prompt: Any, text: Any) -> str:
        from jinja2 import TemplateError

        try:
            tools = prompt.tools if isinstance(prompt, Conversation) else []
            return self.tokenizer.apply_chat_template(as_chat(prompt, text), tools=tools or None, tokenize=False)
        except TemplateError as error:
            raise DataError(
                f"the chat template of {self.name} refuses {str(prompt)[:60]!r} with an answer: {error}. Leave such "
                "prompts out, or use another judge."
            ) from error

    def _plain_text(self, text: Any) -> str:
        if isinstance(text, Conversation) and self.tokenizer.chat_template is None:
            raise DataError(
                f"{self.name} has no chat template, and cannot judge the conversation {str(text)[:60]!r}. Put a "
                "chat_template.jinja into its folder, or use another judge."
            )
        return as_answer(text)

    @property
    def _max_length(self) -> int:
        positions = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        return min(int(self.tokenizer.model_max_length), int(positions))

    def _score_batch(self, rows: Sequence[dict[str, list[int]]]) -> Tensor:
        width = max(len(row["input_ids"]) for row in rows)
        config, device = self.model.config, next(self.model.parameters()).device
        own_pad = config.pad_token_id
        # a decoder's reward is read at the last token that is no padding: a model without a padding token is padded
        # with a token that none of the texts has
        used = {token for row in rows for token in row["input_ids"]} if own_pad is None else set()
        pad = own_pad if own_pad is not None else next(token for token in range(len(used) + 1) if token not in used)
        inputs = {
            key: torch.tensor(
                [row[key] + [pad if key == "input_ids" else 0] * (width - len(row[key])) for row in rows], device=device
            )
            for key in rows[0]
        }
        try:
            config.pad_token_id = pad
            return self.model(**inputs).logits.float().reshape(-1).cpu()
        finally:
            config.pad_token_id = own_pad

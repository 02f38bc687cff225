"""Reward models: what a model that was trained on people's choices between two answers thinks of one.

    score_b = r(c_b, x_b)            difference of two scores of one prompt = logit of "the first is preferred"

Serves every sequence classifier of transformers with one label. With a chat template, prompt and answer are turns of
one chat. Without, a tokenizer that separates two texts (as BERT's do) gets the two, any other the answer right behind
the prompt. What is too long for the model loses its beginning. Always float32: a bfloat16 reward has steps of 1/16
at 10.

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
from diffalign.quiet import quiet
from diffalign.scorers.scorer import check_prompt_count, chunks, state_hash
from diffalign.scorers.text_input import as_answer, as_chat

EXAMPLE = "reward:Skywork/Skywork-Reward-V2-Qwen3-0.6B"


class Reward:
    """A reward model as a scorer.

    Args:
        model: The classifier of one label, already on its device.
        tokenizer: Its tokenizer.
        name: How reports call it.
        batch_size: Texts that go through the model at once; the scores do not depend on it.
    """

    medium = "text"
    unit = "logit"
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
            UserError: No argument; nothing there that judges texts by one number.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        if not argument:
            raise UserError(f"reward needs a model: write reward:FOLDER or reward:HUB_ID, as in {EXAMPLE}")
        try:
            with quiet():
                model, notes = AutoModelForSequenceClassification.from_pretrained(argument, output_loading_info=True)
                tokenizer = AutoTokenizer.from_pretrained(argument)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"Cannot load a reward model from '{argument}': {str(error).splitlines()[0]} Expected a folder or a "
                f"hub id with config.json, weights and a tokenizer, as in --scorer {EXAMPLE}"
            ) from error
        if model.config.num_labels != 1 or notes["missing_keys"]:
            lacks = ", ".join(sorted(notes["missing_keys"])[:2])
            what = f"has no weights for {lacks}" if lacks else f"tells {model.config.num_labels} classes apart"
            raise UserError(
                f"'{argument}' {what}, so it is no reward model. Expected a sequence classifier with one label, as in "
                f"--scorer {EXAMPLE}"
            )
        return cls(model.float().to(device), tokenizer, name=f"reward:{argument}")

    @cached_property
    def weights(self) -> str:
        """Hash of the model's parameters, computed when first asked for."""
        return state_hash(self.model.state_dict())

    def check_prompts(self, prompts: Sequence[Any]) -> None:
        """Raises :class:`DataError` when a prompt is a conversation and the model knows no chat."""
        for prompt in prompts:
            self._plain(prompt)

    @torch.no_grad()
    def score(self, prompts: Sequence[Any], texts: Sequence[Any]) -> Tensor:
        """Rewards, ``(B,)`` float32."""
        check_prompt_count(prompts, texts)
        rows = [self._encode(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
        # texts of like length together: less padding
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]["input_ids"]))
        scores = torch.zeros(len(rows))
        for part in chunks(order, self.batch_size):
            scores[list(part)] = self._batch([rows[row] for row in part])
        return scores

    def _encode(self, prompt: Any, text: Any) -> dict[str, list[int]]:
        cut = {"truncation": True, "max_length": self._longest, "verbose": False}
        self.tokenizer.truncation_side = "left"
        if self.tokenizer.chat_template is not None:
            return dict(self.tokenizer(self._written(prompt, text), add_special_tokens=False, **cut))
        asked, said = self._plain(prompt), self._plain(text)
        if self.tokenizer.sep_token is not None:
            return dict(self.tokenizer(asked, said, **{**cut, "truncation": "longest_first"}))
        return dict(self.tokenizer(asked + said, **cut))

    def _written(self, prompt: Any, text: Any) -> str:
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(as_chat(prompt, text), tokenize=False)
        except TemplateError as error:
            raise DataError(
                f"the chat template of {self.name} refuses {str(prompt)[:60]!r} with an answer: {error}. Leave such "
                "prompts out, or take another judge."
            ) from error

    def _plain(self, text: Any) -> str:
        if isinstance(text, Conversation) and self.tokenizer.chat_template is None:
            raise DataError(
                f"{self.name} has no chat template, and cannot judge the conversation {str(text)[:60]!r}. Put a "
                "chat_template.jinja into its folder, or take another judge."
            )
        return as_answer(text)

    @property
    def _longest(self) -> int:
        positions = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        return min(int(self.tokenizer.model_max_length), int(positions))

    def _batch(self, rows: Sequence[dict[str, list[int]]]) -> Tensor:
        width = max(len(row["input_ids"]) for row in rows)
        config, device = self.model.config, next(self.model.parameters()).device
        given = config.pad_token_id
        # a decoder's reward stands at the last token that is no padding: without a rule of its own, pad with one that
        # none of the texts has
        used = {token for row in rows for token in row["input_ids"]} if given is None else set()
        pad = given if given is not None else next(token for token in range(len(used) + 1) if token not in used)
        filled = {
            key: torch.tensor(
                [row[key] + [pad if key == "input_ids" else 0] * (width - len(row[key])) for row in rows], device=device
            )
            for key in rows[0]
        }
        try:
            config.pad_token_id = pad
            return self.model(**filled).logits.float().reshape(-1).cpu()
        finally:
            config.pad_token_id = given

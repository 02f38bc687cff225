"""A chat model that answers requests: what a generative judge and follow-up likelihood share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import UserError
from diffalign.files.complete_weights import load_pretrained, one_sentence
from diffalign.policies.language.config import LanguageConfig
from diffalign.policies.language.generation.decode import decode_answers
from diffalign.policies.language.generation.sample import sample_ids
from diffalign.policies.language.tokens.tokenize import PairTokenizer
from diffalign.quiet import quiet
from diffalign.scorers.scorer import state_hash
from diffalign.scorers.vision_language.build import working_dtype


class ChatModel:
    """A causal language model with its chat template.

    Args:
        model: The model, already on its device.
        tokenizer: Its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.model.eval().requires_grad_(False)
        self._pair_tokenizer = PairTokenizer(tokenizer, LanguageConfig(path=".", max_length=None))

    @classmethod
    def load(cls, source: str, device: str, scorer: str) -> ChatModel:
        """Loads a folder or hub id; float32 on the CPU, bfloat16 on accelerators.

        Raises:
            UserError: The source is missing, or is no language model with a chat template.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        example = f"{scorer}:Qwen/Qwen2.5-7B-Instruct"
        if not source:
            raise UserError(f"{scorer} needs a chat model: write {scorer}:FOLDER or {scorer}:HUB_ID, as in {example}")
        advice = f"Expected a folder or a hub id with config.json, weights and a tokenizer, as in --scorer {example}"
        with one_sentence(f"Cannot load a chat model from '{source}'", UserError, advice), quiet():
            tokenizer = AutoTokenizer.from_pretrained(source)
            if not tokenizer.chat_template:
                raise UserError(
                    f"'{source}' has no chat template, and {scorer} puts requests to it as turns of a chat. Give a "
                    f"model that was trained for chats, as in --scorer {example}"
                )
            model = load_pretrained(AutoModelForCausalLM, source, error=UserError, advice=advice)
        return cls(model.to(device, working_dtype(device)), tokenizer)

    @cached_property
    def weights(self) -> str:
        """Hash of the model's parameters, computed on first access."""
        return state_hash(self.model.state_dict())

    def replies(self, requests: Sequence[str], *, system: str, max_new_tokens: int, batch: int = 8) -> list[str]:
        """Returns the likeliest reply to each request, token by token, without randomness.

        Raises:
            ConfigError: A request and its reply would have more tokens than the model has positions.
        """
        turns = (Message("system", system),) if system else ()
        chats = [Conversation((*turns, Message("user", request))) for request in requests]
        ids = sample_ids(
            self.model, self._pair_tokenizer, chats, [0] * len(chats),
            max_new_tokens=max_new_tokens, temperature=0.0, batch=batch,
        )  # fmt: skip
        return decode_answers(self.model, self._pair_tokenizer, chats, ids, raw=False)

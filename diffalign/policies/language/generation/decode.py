"""From the tokens of generated answers to their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffalign.data.records.conversation import Text
from diffalign.policies.language.generation.model_settings import end_ids
from diffalign.policies.language.tokens.tokenize import PairTokenizer


def decode_answers(
    model: Any, pair_tokenizer: PairTokenizer, prompts: Sequence[Text], answers: Sequence[Sequence[int]], *, raw: bool
) -> list[str]:
    """Returns the texts of answers to these prompts, without special tokens.

    An answer in a conversation has no space around it. The continuation of a raw prompt keeps every character.
    """
    ends, texts = end_ids(model, pair_tokenizer), []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = answer[:-1] if answer and answer[-1] in ends else answer
        if isinstance(pair_tokenizer.format_prompt(prompt, raw), str):
            texts.append(_continuation(pair_tokenizer.tokenizer, pair_tokenizer.prompt_ids(prompt, raw), ids))
        else:
            texts.append(_decode(pair_tokenizer.tokenizer, ids).strip())
    return texts


def _continuation(tokenizer: Any, prompt: Sequence[int], ids: Sequence[int]) -> str:
    """Returns the exact text after the prompt: some tokenizers drop the space that a text begins with."""
    before, whole = _decode(tokenizer, prompt), _decode(tokenizer, [*prompt, *ids])
    return whole[len(before) :] if whole.startswith(before) else _decode(tokenizer, ids)


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

"""What generation takes from a model: its end tokens and its number of positions, but not its own settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffalign.errors import ConfigError
from diffalign.policies.language.tokens.tokenize import PairTokenizer


@contextmanager
def plain_generation_config(model: Any, pair_tokenizer: PairTokenizer, max_new_tokens: int) -> Iterator[frozenset[int]]:
    """Generates greedily and in evaluation mode within the block, without the model's own settings (penalties,
    temperature); gives the tokens that end an answer.
    """
    from transformers import GenerationConfig

    config_before, training_before = model.generation_config, model.training
    ends = end_ids(model, pair_tokenizer)
    pad = pair_tokenizer.tokenizer.pad_token_id
    model.generation_config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        use_cache=True,
        eos_token_id=sorted(ends),
        pad_token_id=pair_tokenizer.end_id if pad is None else pad,
    )
    try:
        model.eval()
        yield ends
    finally:
        model.generation_config = config_before
        model.train(training_before)


def end_ids(model: Any, pair_tokenizer: PairTokenizer) -> frozenset[int]:
    """Returns the tokens that end an answer: the tokenizer's, the chat template's, and the model's."""
    eos = getattr(model.generation_config, "eos_token_id", None)
    return frozenset({*pair_tokenizer.end_ids, *([] if eos is None else [eos] if isinstance(eos, int) else eos)})


def check_positions(model: Any, longest_prompt: int, max_new_tokens: int) -> None:
    """Raises ConfigError if prompt and answer together could have more tokens than the model has positions."""
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions and longest_prompt + max_new_tokens > positions:
        raise ConfigError(
            f"a prompt has {longest_prompt:,} tokens, which with max_new_tokens {max_new_tokens:,} is beyond the "
            f"model's {positions:,} positions. Set max_new_tokens to {max(1, positions - longest_prompt):,} or less, "
            "or shorten the prompt"
        )

"""Facts about a tokenizer of transformers: its end token, the tokens that it begins texts with, and its digest."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from diffalign.errors import ConfigError, near_miss


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Returns the token ids of texts, tokenised in one call, without special tokens around them."""
    if not texts:
        return []
    options = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
    return tokenizer(texts, add_special_tokens=False, **options)["input_ids"]


def special_tokens(tokenizer: Any) -> list[str]:
    """Returns the special tokens as text, sorted."""
    return sorted({token.content for token in tokenizer.added_tokens_decoder.values() if token.special})


def token_id(tokenizer: Any, text: str | None) -> int:
    """Returns the id of an end token. Raises ConfigError for None, and for a text that is no token."""
    vocabulary = tokenizer.get_vocab()
    if text is not None and text in vocabulary:
        return vocabulary[text]
    special = special_tokens(tokenizer)
    advice = f"Its special tokens are {', '.join(special) or 'none'}. Type: --set model.end_token=TOKEN"
    if text is None:
        raise ConfigError(
            f"the tokenizer has no end token, so the model could not learn where a response ends. {advice}"
        )
    raise ConfigError(f"model.end_token is {text!r}, which is no token.{near_miss(text, special)} {advice}")


def begin_ids(tokenizer: Any) -> tuple[int, ...]:
    """Returns the tokens that the tokenizer puts before a text by default: a begin token, or none."""
    bare = encode(tokenizer, ["a"])[0]
    full = list(tokenizer("a")["input_ids"])
    return next((tuple(full[:i]) for i in range(len(full)) if full[i : i + len(bare)] == bare), ())


def digest(tokenizer: Any) -> str:
    """Returns a hash that changes whenever the tokenizer could turn a text into different tokens."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        content: Any = [type(tokenizer).__name__, tokenizer.get_vocab()]
    else:
        content = json.loads(core.to_str())
        for name in ("padding", "truncation"):  # left over from the last call
            content.pop(name, None)
    names = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return hashlib.sha256(json.dumps([content, names], sort_keys=True).encode()).hexdigest()

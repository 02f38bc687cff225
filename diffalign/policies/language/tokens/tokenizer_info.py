"""What a tokenizer of transformers knows of itself: its end token, what it begins texts with, and who it is."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from diffalign.errors import ConfigError, near_miss


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Tokens of texts, in one call, with nothing put around them."""
    if not texts:
        return []
    options = {"return_attention_mask": False, "return_token_type_ids": False, "verbose": False}
    return tokenizer(texts, add_special_tokens=False, **options)["input_ids"]


def special_tokens(tokenizer: Any) -> list[str]:
    """The special tokens as text, sorted."""
    return sorted({token.content for token in tokenizer.added_tokens_decoder.values() if token.special})


def token_id(tokenizer: Any, text: str | None) -> int:
    """The id of an end token. Raises ConfigError for None, and for what is no token."""
    known = tokenizer.get_vocab()
    if text is not None and text in known:
        return known[text]
    special = special_tokens(tokenizer)
    advice = f"Its special tokens are {', '.join(special) or 'none'}. Type: --set model.end_token=TOKEN"
    if text is None:
        raise ConfigError(
            f"the tokenizer has no end token, so the model could not learn where a response ends. {advice}"
        )
    raise ConfigError(f"model.end_token is {text!r}, which is no token.{near_miss(text, special)} {advice}")


def begins_with(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before a text of its own accord: a begin token, or nothing."""
    bare = encode(tokenizer, ["a"])[0]
    full = list(tokenizer("a")["input_ids"])
    return next((tuple(full[:i]) for i in range(len(full)) if full[i : i + len(bare)] == bare), ())


def digest(tokenizer: Any) -> str:
    """Changes whenever the tokenizer could make other tokens of a text."""
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        facts: Any = [type(tokenizer).__name__, tokenizer.get_vocab()]
    else:
        facts = json.loads(core.to_str())
        for name in ("padding", "truncation"):  # left behind by whoever called it last
            facts.pop(name, None)
    names = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return hashlib.sha256(json.dumps([facts, names], sort_keys=True).encode()).hexdigest()

"""Token ids for CLIP's text encoders, and the identity of a tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffalign.errors import ConfigError


def token_ids(tokenizer: Any, prompts: Sequence[str], device: torch.device) -> Tensor:
    """Returns ids ``(B, length)``, padded and cut to the tokenizer's own length."""
    length = tokenizer.model_max_length
    ids = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids.to(device)


def check_tokenizer(tokenizer: Any, config: Any) -> None:
    """Raises ConfigError where a tokenizer makes longer prompts or other tokens than its text encoder takes."""
    stated = ((tokenizer.model_max_length, "max_position_embeddings"), (len(tokenizer), "vocab_size"))
    for given, name in stated:
        most = getattr(config, name, None)
        if most is not None and given > most:
            raise ConfigError(
                f"the tokenizer {str(tokenizer.name_or_path)[:200]} belongs to another text encoder: it states"
                f" {given:,} where the encoder has {name} {most:,}. Download or save the model again."
            )


def tokenizer_digest(tokenizer: Any) -> str:
    """Returns the identity of a tokenizer by what it does: its vocabulary, its length and a probe sentence."""
    probe = tokenizer("A fox, 12 x 3; Blue!").input_ids
    text = repr((sorted(tokenizer.get_vocab().items()), tokenizer.model_max_length, probe))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

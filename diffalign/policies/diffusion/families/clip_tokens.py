"""Token ids for CLIP's text encoders, and the identity of a tokenizer."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def token_ids(tokenizer: Any, prompts: Sequence[str], device: torch.device) -> Tensor:
    """Returns ids ``(B, length)``, padded and cut to the tokenizer's own length."""
    length = tokenizer.model_max_length
    ids = tokenizer(
        list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids.to(device)


def tokenizer_digest(tokenizer: Any) -> str:
    """Returns the identity of a tokenizer by what it does: its vocabulary, its length and a probe sentence."""
    probe = tokenizer("A fox, 12 x 3; Blue!").input_ids
    text = repr((sorted(tokenizer.get_vocab().items()), tokenizer.model_max_length, probe))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

"""Reads each prompt of a batch once, however many answers it gets: they begin with copies of its keys and values.

    rows        a  a  a  b  b      answers of two prompts, each with its own generator
    forward     a        b         the prompt without its last token, once
    generate    a  a  a  b  b      from the last token on

An answer is the same up to rounding as with a prompt of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor


def shared_keys_and_values(
    model: Any, prompt_ids: Sequence[Sequence[int]], padded: Tensor, mask: Tensor
) -> dict[str, Any]:
    """Returns the argument of ``generate`` that holds keys and values of all tokens of the prompts but the last one, a
    row for each prompt in its order. It is empty where nothing is shared: all prompts differ, one token is all that
    they have, or the model keeps another state than keys and values.

    Args:
        model: A causal language model of transformers.
        prompt_ids: B prompts.
        padded: ``(B, T)`` int64, their tokens, padded on the left.
        mask: ``(B, T)`` int64, 0 at padding.
    """
    prompts = [tuple(ids) for ids in prompt_ids]
    once = {ids: row for row, ids in reversed([*enumerate(prompts)])}
    if len(once) == len(prompts) or padded.shape[1] == 1 or not _keeps_keys_and_values(model):
        return {}
    rows, place = list(once.values()), {ids: number for number, ids in enumerate(once)}
    seen = mask[rows, :-1]
    accepted, given = signature(model.forward).parameters, dict[str, Any](use_cache=True)
    if "position_ids" in accepted:  # as `generate` gives them: they count a prompt's own tokens
        given["position_ids"] = (seen.cumsum(-1) - 1).clamp(min=0)
    if "logits_to_keep" in accepted:
        given["logits_to_keep"] = 1
    read = model(input_ids=padded[rows, :-1], attention_mask=seen, **given)
    name = "cache" if "cache" in signature(model.prepare_inputs_for_generation).parameters else "past_key_values"
    known = getattr(read, name)
    known.reorder_cache(torch.tensor([place[ids] for ids in prompts], device=padded.device))
    return {name: known}


def _keeps_keys_and_values(model: Any) -> bool:
    kinds = getattr(model.config.get_text_config(), "layer_types", None) or ()
    only_attention = all(kind in ("full_attention", "sliding_attention") for kind in kinds)
    return only_attention and not model.config.is_encoder_decoder and not getattr(model, "_is_stateful", False)

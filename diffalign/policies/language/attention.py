"""Attention over a layout: each prompt once, each response against its prompt and itself, no padding.

Registered with transformers as the attention implementation ``"diffalign"``. With a ``tree`` among its arguments (the
layout of the batch) it computes that; without one it is transformers' own scaled-dot-product attention.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffalign.policies.language.layout import Layout

NAME = "diffalign"


class Unsupported(Exception):
    """This architecture's attention has a part that the layout's attention does not know."""


def register() -> str:
    """Makes the implementation known to transformers, once, and returns its name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: Layout | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of one layer, as transformers asks for it.

    Args:
        module: The layer.
        query: ``(1, H, T, D)``.
        key, value: ``(1, G, T, D)``, ``G`` groups of heads.
        attention_mask: Not read where there is a layout.
        tree: The layout.
        scaling: Factor on the scores; None: ``1 / sqrt(D)``.
        sliding_window: Positions that a token sees, itself included; None: all before it.
        softcap: Scores are bent to ``softcap tanh(score / softcap)``.
        others: What architectures pass besides.

    Returns:
        ``(1, T, H, D)``, and no weights.

    Raises:
        Unsupported: Attention sinks, or a bias by position.
    """
    if tree is None:
        return _ordinary(
            *(module, query, key, value, attention_mask),
            **{"scaling": scaling, "sliding_window": sliding_window, "softcap": softcap, **others},
        )
    for name in ("s_aux", "position_bias"):
        if others.get(name) is not None:
            raise Unsupported(f"its attention takes {name}")
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    attend = _capped(softcap) if softcap is not None else F.scaled_dot_product_attention
    parts = []
    for part in tree.trees:
        own = slice(part.start, part.fork)
        everything = slice(part.start, part.end)
        q, k, v = query[:, :, own], key[:, :, own], value[:, :, own]
        if sliding_window is not None and part.fork - part.start > sliding_window:
            mask = tree.window_mask(part, sliding_window, query.dtype)
            parts.append(attend(q, k, v, attn_mask=mask, scale=scaling))
        else:
            parts.append(attend(q, k, v, is_causal=True, scale=scaling))
        q, k, v = query[:, :, part.fork : part.end], key[:, :, everything], value[:, :, everything]
        mask = tree.mask(part, sliding_window, query.dtype)
        parts.append(attend(q, k, v, attn_mask=mask, scale=scaling))
    return torch.cat(parts, 2).transpose(1, 2), None


def _ordinary(module: nn.Module, *args: Any, **settings: Any) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if settings.get("softcap") is not None:  # the fused kernel knows no soft cap
        return _eager(*args, **settings)
    return sdpa_attention_forward(module, *args, **settings)


def _eager(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, softcap: float, scaling: float | None, **_: Any
) -> tuple[Tensor, None]:
    heads = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    causal = mask is None and query.shape[2] > 1
    return _capped(softcap)(query, key, value, attn_mask=mask, is_causal=causal, scale=scaling).transpose(1, 2), None


def _capped(cap: float) -> Any:
    """Attention whose scores are bent, by its plain formula."""

    def attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
        scores = cap * torch.tanh(scores / cap)
        if is_causal:
            length = query.shape[-2]
            hidden = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
            scores = scores.masked_fill(hidden, float("-inf"))
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            # Finite: the row of a padding token may see nothing at all, and its not-a-number would spread.
            scores = scores.masked_fill(~attn_mask, torch.finfo(scores.dtype).min)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return scores.float().softmax(-1).to(query.dtype) @ value

    return attend

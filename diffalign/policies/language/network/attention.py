"""Attention over a layout: each prompt once, each response against its prompt and itself, no padding.

Registered with transformers as the attention implementation ``"diffalign"``. With a ``tree`` among its arguments (the
layout of the batch) it computes that; without one it is transformers' own scaled-dot-product attention.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffalign.policies.language.network.layout import Layout

NAME = "diffalign"
FEW_ROWS = 256
"""Up to so many rows of queries the fused kernel loses to two matrix products on a CPU in bfloat16, forward and back:
by 1.4 (128 rows, 512 keys) to 2.6 (64 and 64), measured with heads of 64 channels (torch 2.15). In float32 it wins."""


class Unsupported(Exception):
    """This architecture's attention has a part that the layout's attention does not know."""


def register() -> str:
    """Makes the implementation known to transformers, once, and returns its name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def keep_soft_cap(model: Any) -> None:
    """Gives a model that bends its scores an attention that does: transformers 4 hands Gemma 2 to the fused kernel,
    which leaves the cap out without a word; transformers 5 to the plain formula, as is done here."""
    capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None
    if capped and model.config._attn_implementation == "sdpa":
        model.set_attn_implementation("eager")


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
        others |= {"scaling": scaling, "sliding_window": sliding_window, "softcap": softcap}
        return _ordinary(module, query, key, value, attention_mask, **others)
    for name in ("s_aux", "position_bias"):
        if others.get(name) is not None:
            raise Unsupported(f"its attention takes {name}")
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    parts = []
    for part in tree.trees:
        own, everything = slice(part.start, part.fork), slice(part.start, part.end)
        mask = None
        if sliding_window is not None and part.fork - part.start > sliding_window:
            mask = tree.window_mask(part, sliding_window, query.dtype)
        q, k, v = query[:, :, own], key[:, :, own], value[:, :, own]
        parts.append(attend(q, k, v, mask, causal=mask is None, scale=scaling, cap=softcap))
        q, k, v = query[:, :, part.fork : part.end], key[:, :, everything], value[:, :, everything]
        mask = tree.mask(part, sliding_window, query.dtype)
        parts.append(attend(q, k, v, mask, scale=scaling, cap=softcap))
    return torch.cat(parts, 2).transpose(1, 2), None


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    causal: bool = False,
    scale: float | None = None,
    cap: float | None = None,
) -> Tensor:
    """Attention of ``(1, H, Q, D)`` on ``(1, H, K, D)``: torch's fused kernel; the plain formula where that is faster
    or there is a soft cap, which the kernel does not know. It is one fixed rule, so policy and reference agree."""
    few = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[-2] <= FEW_ROWS
    if cap is None and not few:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, scale=scale)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    if mask is not None and mask.dtype == torch.bool:
        # Finite: the row of a padding token may see nothing at all, and its not-a-number would spread.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    return scores.softmax(-1).to(query.dtype) @ value


def _ordinary(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **settings: Any
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    cap = settings.get("softcap")
    if cap is None:
        return sdpa_attention_forward(module, query, key, value, mask, **settings)
    heads, causal = query.shape[1] // key.shape[1], mask is None and query.shape[2] > 1
    key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    return attend(query, key, value, mask, causal=causal, scale=settings["scaling"], cap=cap).transpose(1, 2), None

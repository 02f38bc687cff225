"""Attention over a packed layout: each prompt once, each response with its prompt and itself, no padding.

Registered with transformers as the attention implementation ``"diffalign"``. If ``packed_layout`` is among its
arguments it computes the attention of that layout, otherwise transformers' own scaled-dot-product attention.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffalign.policies.language.network.layout import Layout

NAME = "diffalign"
FEW_ROWS = 256
"""Up to this number of query rows, two matrix products are faster than the fused kernel on a CPU in bfloat16, forward
and backward: by a factor of 1.4 (128 rows, 512 keys) to 2.6 (64 and 64), measured with heads of 64 channels (torch
2.15). In float32 the kernel is faster."""


class UnsupportedAttention(Exception):
    """An architecture's attention has a part that packed attention does not implement."""


def register() -> str:
    """Registers the implementation with transformers and returns its name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def keep_soft_cap(model: Any) -> None:
    """Gives a model with soft-capped attention scores an implementation that applies the cap.

    transformers 4 runs Gemma 2 with the fused kernel, which silently leaves the cap out; transformers 5 runs the plain
    formula, and so does this function.
    """
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
    packed_layout: Layout | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Computes the attention of one layer, with the signature that transformers expects.

    Args:
        module: The layer.
        query: ``(1, H, T, D)``.
        key, value: ``(1, G, T, D)``, ``G`` groups of heads.
        attention_mask: Ignored if there is a layout.
        packed_layout: The layout of the batch.
        scaling: Factor of the scores; None: ``1 / sqrt(D)``.
        sliding_window: Number of positions that a token sees, itself included; None: all before it.
        softcap: Scores become ``softcap tanh(score / softcap)``.
        options: Further arguments of architectures.

    Returns:
        ``(1, T, H, D)``, and no weights.

    Raises:
        UnsupportedAttention: Attention sinks, or a bias by position.
    """
    if packed_layout is None:
        options |= {"scaling": scaling, "sliding_window": sliding_window, "softcap": softcap}
        return _unpacked(module, query, key, value, attention_mask, **options)
    for name in ("s_aux", "position_bias"):
        if options.get(name) is not None:
            raise UnsupportedAttention(f"its attention takes {name}")
    heads = query.shape[1] // key.shape[1]
    if heads > 1:
        key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    outputs = []
    for group in packed_layout.groups:
        prompt, responses = slice(group.start, group.prompt_end), slice(group.prompt_end, group.end)
        whole = slice(group.start, group.end)
        mask = None
        if sliding_window is not None and group.prompt_length > sliding_window:
            mask = packed_layout.prompt_mask(group, sliding_window, query.dtype)
        q, k, v = query[:, :, prompt], key[:, :, prompt], value[:, :, prompt]
        outputs.append(attend(q, k, v, mask, causal=mask is None, scale=scaling, cap=softcap))
        q, k, v = query[:, :, responses], key[:, :, whole], value[:, :, whole]
        mask = packed_layout.response_mask(group, sliding_window, query.dtype)
        outputs.append(attend(q, k, v, mask, scale=scaling, cap=softcap))
    return torch.cat(outputs, 2).transpose(1, 2), None


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
    """Returns the attention of ``(1, H, Q, D)`` to ``(1, H, K, D)``.

    Uses torch's fused kernel; the plain formula where that is faster, or for a soft cap, which the kernel lacks. The
    choice depends only on shape, dtype and device, so policy and reference take the same one.
    """
    few_rows = query.device.type == "cpu" and query.dtype == torch.bfloat16 and query.shape[-2] <= FEW_ROWS
    if cap is None and not few_rows:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal, scale=scale)
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if cap is not None:
        scores = cap * torch.tanh(scores / cap)
    if causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
        scores = scores.masked_fill(future, float("-inf"))
    if mask is not None and mask.dtype == torch.bool:
        # Finite: a padding token may see nothing at all, and a row of -inf would become NaN and spread.
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    return scores.softmax(-1).to(query.dtype) @ value


def _unpacked(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    cap = options.get("softcap")
    if cap is None:
        return sdpa_attention_forward(module, query, key, value, mask, **options)
    heads, causal = query.shape[1] // key.shape[1], mask is None and query.shape[2] > 1
    key, value = key.repeat_interleave(heads, 1), value.repeat_interleave(heads, 1)
    return attend(query, key, value, mask, causal=causal, scale=options["scaling"], cap=cap).transpose(1, 2), None

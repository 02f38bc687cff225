"""The head, where it is needed: log-probabilities of given tokens, without logits at any other place.

    logp_n = z_n[target_n] - log sum_v exp z_n[v],      z = cap tanh((W h + b) scale / cap)

Logits exist for a chunk of tokens at a time. They are kept for the backward pass while they are few, else computed once
more: a third of the head's time for nearly all of its memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Bend:
    """What an architecture does to its logits.

    Args:
        scale: A factor (Cohere, Granite).
        cap: A soft cap (Gemma 2); None: none.
    """

    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: Any) -> Bend:
        """As a model's configuration says."""
        scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", 0) or 1.0)
        return cls(scale, getattr(config, "final_logit_softcapping", None))


def token_logps(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    bend: Bend = Bend(),
    keep_bytes: int = 512 * 2**20,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """Log-probabilities of ``targets``.

    Args:
        hidden: ``(N, D)``, the states that predict them.
        weight: ``(V, D)``.
        targets: ``(N,)``.
        bias: ``(V,)`` or None.
        bend: What happens to the logits.
        keep_bytes: Bytes of logits that may be kept for the backward pass.
        chunk_bytes: Bytes of logits that exist at a time, in float32.

    Returns:
        ``(N,)`` float32 (float64 for float64 states). Products run in the precision of autocast, else in that of the
        weight; everything after them in float32.
    """
    if not len(targets):
        return hidden.float().sum(-1)
    return _TokenLogps.apply(hidden, weight, bias, targets, bend, keep_bytes, chunk_bytes)  # type: ignore[no-any-return]


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        bend: Bend,
        keep_bytes: int,
        chunk_bytes: int,
    ) -> Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        rows = max(1, chunk_bytes // (4 * len(weight)))
        needed = any(ctx.needs_input_grad[:3])
        keep = needed and len(targets) * len(weight) * dtype.itemsize <= keep_bytes
        kept, sums, picked = [], [], []
        with torch.autocast(device, enabled=False):
            cast = weight.to(dtype)
            for start in range(0, len(targets), rows):
                raw = F.linear(hidden[start : start + rows].to(dtype), cast, None if bias is None else bias.to(dtype))
                z = bent(raw, bend)
                total = torch.logsumexp(z, 1)
                sums.append(total)
                picked.append(z.gather(1, targets[start : start + rows, None])[:, 0] - total)
                if keep:
                    kept.append(raw)
                del raw, z
        if needed:
            ctx.save_for_backward(hidden, weight, bias, targets, torch.cat(sums))
            ctx.kept, ctx.bend, ctx.rows, ctx.dtype = kept, bend, rows, dtype
        return torch.cat(picked)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        hidden, weight, bias, targets, sums = ctx.saved_tensors
        rows, dtype = ctx.rows, ctx.dtype
        kept, ctx.kept = ctx.kept, []  # used up, in place: a second backward pass computes them once more
        want_hidden, want_weight, want_bias = ctx.needs_input_grad[:3]
        of_hidden = torch.empty_like(hidden) if want_hidden else None
        of_weight: Tensor | None = None
        of_bias = torch.zeros_like(bias) if want_bias else None
        with torch.autocast(hidden.device.type, enabled=False):
            cast = weight.to(dtype)
            for start in range(0, len(targets), rows):
                part = slice(start, start + rows)
                states = hidden[part].to(dtype)
                raw = kept.pop(0) if kept else F.linear(states, cast, None if bias is None else bias.to(dtype))
                slope = _slopes(raw, targets[part], sums[part], grad[part], ctx.bend).to(dtype)
                if of_hidden is not None:
                    of_hidden[part] = slope @ cast
                if want_weight:
                    product = slope.T @ states
                    of_weight = product.to(weight.dtype) if of_weight is None else of_weight.add_(product)
                if of_bias is not None:
                    of_bias += slope.sum(0)
        return of_hidden, of_weight, of_bias, None, None, None, None


def bent(raw: Tensor, bend: Bend) -> Tensor:
    """Logits as the architecture means them, in float32 or better."""
    z = raw if raw.dtype == torch.float64 else raw.float()
    if bend.scale != 1.0:
        z = z * bend.scale
    return z if bend.cap is None else bend.cap * torch.tanh(z / bend.cap)


def _slopes(raw: Tensor, targets: Tensor, sums: Tensor, grad: Tensor, bend: Bend) -> Tensor:
    """Derivatives by the raw logits, which it may write over: ``grad (1[v = target] - p_v)``, through the bend."""
    z = bent(raw, bend)
    through = None if bend.cap is None else (1.0 - (z / bend.cap) ** 2) * bend.scale
    slope = z.sub_(sums[:, None]).exp_()
    slope[torch.arange(len(targets), device=targets.device), targets] -= 1.0
    slope.mul_(-grad[:, None])
    if through is not None:
        return slope.mul_(through)
    return slope if bend.scale == 1.0 else slope.mul_(bend.scale)

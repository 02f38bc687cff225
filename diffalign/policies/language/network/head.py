"""Token log-probabilities from hidden states, with logits only where they are needed.

    logp_n = z_n[target_n] - log sum_v exp z_n[v],      z = cap tanh((W h + b) scale / cap)

Logits exist for a chunk of tokens at a time. They are kept for the backward pass if they are few, otherwise recomputed:
a third of the head's time for nearly all of its memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class LogitTransform:
    """The transformation that an architecture applies to its logits.

    Args:
        scale: A factor (Cohere, Granite).
        cap: A soft cap (Gemma 2); None: none.
    """

    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: Any) -> LogitTransform:
        """Returns the transformation that a model's configuration defines."""
        scale = float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", 0) or 1.0)
        return cls(scale, getattr(config, "final_logit_softcapping", None))

    def __call__(self, raw: Tensor) -> Tensor:
        """Returns transformed logits, in float32 or better."""
        z = raw if raw.dtype == torch.float64 else raw.float()
        if self.scale != 1.0:
            z = z * self.scale
        return z if self.cap is None else self.cap * torch.tanh(z / self.cap)


def token_logps(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    transform: LogitTransform = LogitTransform(),
    keep_bytes: int = 512 * 2**20,
    chunk_bytes: int = CHUNK_BYTES,
) -> Tensor:
    """Returns the log-probabilities of ``targets``.

    Args:
        hidden: ``(N, D)``, the states that predict them.
        weight: ``(V, D)``.
        targets: ``(N,)``.
        bias: ``(V,)`` or None.
        transform: Applied to the logits.
        keep_bytes: Bytes of logits that may be kept for the backward pass.
        chunk_bytes: Bytes of logits that exist at a time, in float32.

    Returns:
        ``(N,)`` float32 (float64 for float64 states). Products run in the precision of autocast, otherwise in that of
        the weight; everything after them in float32.
    """
    if not len(targets):
        return hidden.float().sum(-1)
    return _TokenLogps.apply(hidden, weight, bias, targets, transform, keep_bytes, chunk_bytes)  # type: ignore[no-any-return]


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        transform: LogitTransform,
        keep_bytes: int,
        chunk_bytes: int,
    ) -> Tensor:
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype
        rows = max(1, chunk_bytes // (4 * len(weight)))
        needs_grad = any(ctx.needs_input_grad[:3])
        keep = needs_grad and len(targets) * len(weight) * dtype.itemsize <= keep_bytes
        kept_logits, log_sums, logps = [], [], []
        with torch.autocast(device, enabled=False):
            cast_weight = weight.to(dtype)
            cast_bias = None if bias is None else bias.to(dtype)
            for start in range(0, len(targets), rows):
                raw = F.linear(hidden[start : start + rows].to(dtype), cast_weight, cast_bias)
                z = transform(raw)
                log_sum = torch.logsumexp(z, 1)
                log_sums.append(log_sum)
                logps.append(z.gather(1, targets[start : start + rows, None])[:, 0] - log_sum)
                if keep:
                    kept_logits.append(raw)
                del raw, z
        if needs_grad:
            ctx.save_for_backward(hidden, weight, bias, targets, torch.cat(log_sums))
            ctx.kept_logits, ctx.transform, ctx.rows, ctx.dtype = kept_logits, transform, rows, dtype
        return torch.cat(logps)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        hidden, weight, bias, targets, log_sums = ctx.saved_tensors
        rows, dtype = ctx.rows, ctx.dtype
        # Kept logits are overwritten in place: a second backward pass recomputes them.
        kept_logits, ctx.kept_logits = ctx.kept_logits, []
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        hidden_grad = torch.empty_like(hidden) if needs_hidden else None
        weight_grad: Tensor | None = None
        bias_grad = torch.zeros_like(bias) if needs_bias else None
        with torch.autocast(hidden.device.type, enabled=False):
            cast_weight = weight.to(dtype)
            cast_bias = None if bias is None else bias.to(dtype)
            for start in range(0, len(targets), rows):
                part = slice(start, start + rows)
                states = hidden[part].to(dtype)
                raw = kept_logits.pop(0) if kept_logits else F.linear(states, cast_weight, cast_bias)
                logit_grad = _logit_gradient(raw, targets[part], log_sums[part], grad[part], ctx.transform).to(dtype)
                if hidden_grad is not None:
                    hidden_grad[part] = logit_grad @ cast_weight
                if needs_weight:
                    product = logit_grad.T @ states
                    weight_grad = product.to(weight.dtype) if weight_grad is None else weight_grad.add_(product)
                if bias_grad is not None:
                    bias_grad += logit_grad.sum(0)
        return hidden_grad, weight_grad, bias_grad, None, None, None, None


def _logit_gradient(raw: Tensor, targets: Tensor, log_sums: Tensor, grad: Tensor, transform: LogitTransform) -> Tensor:
    """Returns the gradient of the raw logits: ``grad (1[v = target] - p_v)``, through the transform. May overwrite
    ``raw``.
    """
    z = transform(raw)
    cap_slope = None if transform.cap is None else (1.0 - (z / transform.cap) ** 2) * transform.scale
    slope = z.sub_(log_sums[:, None]).exp_()
    slope[torch.arange(len(targets), device=targets.device), targets] -= 1.0
    slope.mul_(-grad[:, None])
    if cap_slope is not None:
        return slope.mul_(cap_slope)
    return slope if transform.scale == 1.0 else slope.mul_(transform.scale)

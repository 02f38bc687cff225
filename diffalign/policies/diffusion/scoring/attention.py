"""The attention of a denoiser: the faster one by device, precision and number of positions, in parts where it has more
rows than a kernel takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.policies.module_utils import below

MOST_ROWS = 32_768
"""Rows times heads of one call of a kernel. CUDA's kernels fail above 65,535 with "invalid configuration argument", and
two clips of 512 px have that many: attention over frames has a row for each position."""

FEW_POSITIONS = 256
"""Up to this number of positions the fused kernel is slower than two matrix products on a CPU in bfloat16: 1.5 to 4
times, measured at 16, 64 and 256 positions and heads of 8 to 128 channels (torch 2.15). In float32 it is as fast or
faster."""


class HostAttention:
    """Attention on a CPU: whichever of diffusers' two processors is faster for the call, by one fixed rule, so that
    policy and reference take the same path.
    """

    def __init__(self) -> None:
        from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

        self._plain, self._fused = AttnProcessor(), AttnProcessor2_0()

    def __call__(self, attn: nn.Module, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Computes attention as the processors do."""
        half = torch.is_autocast_enabled("cpu") or hidden_states.dtype == torch.bfloat16
        positions = hidden_states.shape[1] if hidden_states.ndim == 3 else hidden_states.shape[2:].numel()
        processor: Any = self._plain if half and positions <= FEW_POSITIONS else self._fused
        return processor(attn, hidden_states, *args, **kwargs)


def choose_attention(module: nn.Module, device: torch.device) -> None:
    """Sets the attention that is faster on ``device``; on accelerators torch's fused kernel stays."""
    from diffusers.models.attention_processor import Attention, AttnProcessor2_0

    if device.type != "cpu":
        return
    for layer in module.modules():
        if isinstance(layer, Attention) and type(layer.processor) is AttnProcessor2_0:
            layer.set_processor(HostAttention())


class RowsInParts:
    """Self-attention whose rows are computed in parts of at most :data:`MOST_ROWS` rows times heads. Exact: a row does
    not depend on the others.

    Args:
        processor: Computes each part.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, attn: Any, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Computes attention as the processor does."""
        at_once = max(1, MOST_ROWS // attn.heads)
        if len(hidden_states) <= at_once:
            output: Tensor = self._processor(attn, hidden_states, *args, **kwargs)
            return output
        return torch.cat([self._processor(attn, part, *args, **kwargs) for part in hidden_states.split(at_once)])


def split_rows(module: nn.Module, segments: Iterable[str]) -> None:
    """Computes the attention of layers below these segments of a network's paths, each with itself, in parts."""
    from diffusers.models.attention_processor import Attention

    segments = tuple(segments)
    for name, layer in module.named_modules():
        if isinstance(layer, Attention) and below(name, segments):
            parts: Any = RowsInParts(layer.processor)
            layer.set_processor(parts)

"""The faster attention of a denoiser, by device, precision and number of positions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

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

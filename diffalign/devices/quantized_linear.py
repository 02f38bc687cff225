"""Frozen linear layers whose weights are packed in 4 or 8 bits, and unpacked for each product.

    nf4    blocks of 64 weights share an absolute maximum; each weight is one of 16 normal quantiles (QLoRA, Dettmers
           et al. 2023; bitsandbytes packs and unpacks)
    int8   each row of the matrix has a scale; its weights are whole numbers from -127 to 127

A product with a packed weight is that with the unpacked one, forward and backward; nothing unpacked is kept for the
backward pass. Weights do not train: an adapter beside them does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffalign.devices.bitsandbytes_library import require_bitsandbytes
from diffalign.errors import ConfigError

Kind = Literal["nf4", "int8"]
BLOCK = 64
"""Weights of a matrix that share a scale in nf4."""
SMALLEST = 4096
"""Weights below which a matrix stays as it is: packing it would save nothing that counts."""


class QuantizedLinear(nn.Linear):
    """A linear layer with a packed weight; it does not train.

    Args:
        linear: The layer whose weight is packed. Without memory of its own (see `weightless`) neither has the result.
        kind: How it is packed.
    """

    def __init__(self, linear: nn.Linear, kind: Kind) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.kind = linear.in_features, linear.out_features, kind
        packed, scale = _shapes(linear, kind) if 0 in linear.weight.stride() else _pack(linear.weight.detach(), kind)
        self.weight = nn.Parameter(packed, requires_grad=False)
        self.register_buffer("scale", scale)
        self.scale: Tensor
        self.bias: Any = None if linear.bias is None else nn.Parameter(linear.bias.detach(), requires_grad=False)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """Returns the weight ``(out, in)``."""
        return self.unpack(self.weight, self.scale, dtype)

    def unpack(self, packed: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
        """Returns the weight ``(out, in)`` of a packed one and its scale."""
        if self.kind == "int8":
            return packed.to(dtype) * scale.to(dtype)
        from bitsandbytes.functional import QuantState, dequantize_4bit

        shape = torch.Size((self.out_features, self.in_features))
        state = QuantState(scale, shape=shape, dtype=dtype, blocksize=BLOCK, quant_type="nf4")
        return dequantize_4bit(packed, state)  # type: ignore[no-any-return]

    def forward(self, input: Tensor) -> Tensor:
        """Returns ``x W^T + b``, in the autocast's precision where there is one."""
        return _Product.apply(input, self.weight, self.scale, self)  # type: ignore[no-any-return, no-untyped-call]

    def extra_repr(self) -> str:
        """Returns the layer's shape and kind."""
        return f"in_features={self.in_features}, out_features={self.out_features}, kind={self.kind}"


class _Product(torch.autograd.Function):
    """The product with an unpacked weight, which the backward pass unpacks again. The packed one is saved, as the layer
    may have none on the device by then (`block_offload`).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, scale: Tensor, layer: QuantizedLinear) -> Tensor:  # type: ignore[override]
        kind = x.device.type
        ctx.layer, ctx.dtype = layer, x.dtype
        ctx.save_for_backward(packed, scale)
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        bias = None if layer.bias is None else layer.bias.to(dtype)
        return F.linear(x.to(dtype), layer.unpack(packed, scale, dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:  # type: ignore[override]
        weight = ctx.layer.unpack(*ctx.saved_tensors, gradient.dtype)
        return (gradient @ weight).to(ctx.dtype), None, None, None


def quantize_linear_layers(network: nn.Module, kind: Kind, kept: Collection[nn.Module] = ()) -> int:
    """Packs the weights of a network's linear layers in place. Returns how many.

    Args:
        network: The network, frozen.
        kind: How they are packed.
        kept: Layers that stay as they are, such as a language model's head.

    Raises:
        ConfigError: The network has no linear layer of a size that counts, or the library for the kind is missing.
    """
    if kind == "nf4":
        require_bitsandbytes("model.quantize 'nf4'", "--set model.quantize=int8, which needs none")
    count = 0
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear and layer.weight.numel() >= SMALLEST and layer not in kept:
                setattr(parent, name, QuantizedLinear(layer, kind).train(layer.training))
                count += 1
    if not count:
        raise ConfigError(
            f"model.quantize packs linear layers, and {type(network).__name__} has none with {SMALLEST:,} weights or "
            "more. Type: --set model.quantize=null"
        )
    return count


def describe_packed(kind: Kind) -> str:
    """Returns one line for a header."""
    return f"its linear layers are packed as {kind}, for policy and reference alike"


def _pack(weight: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    if kind == "int8":
        scale = weight.float().abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
        return (weight.float() / scale).round().to(torch.int8), scale
    from bitsandbytes.functional import quantize_4bit

    packed, state = quantize_4bit(weight.contiguous(), blocksize=BLOCK, quant_type="nf4")
    return packed, state.absmax


def _shapes(linear: nn.Linear, kind: Kind) -> tuple[Tensor, Tensor]:
    """Returns packed weight and scale in their shapes, one number repeated."""
    out, count = linear.out_features, linear.weight.numel()
    packed: tuple[int, ...] = (out, linear.in_features) if kind == "int8" else (-(-count // 2), 1)
    scale: tuple[int, ...] = (out, 1) if kind == "int8" else (-(-count // BLOCK),)
    dtype = torch.int8 if kind == "int8" else torch.uint8
    return torch.zeros((), dtype=dtype).expand(packed), torch.zeros(()).expand(scale)

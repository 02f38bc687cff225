"""Networks handled: unwrapping, identity of weights and their changes, silence of dropout."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook


def unwrap(module: nn.Module) -> nn.Module:
    """The network inside distributed and compiled wrappers."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__ in (
            "DistributedDataParallel",
            "DataParallel",
            "FullyShardedDataParallel",
        ):
            inner = module.module
        if inner is None:
            return module
        module = inner


def weights_digest(modules: Iterable[nn.Module], *, exact: bool = False) -> str:
    """Identity of weights: 32 hex digits over every tensor's name, shape and up to 1024 evenly spaced values.

    Values are rounded to bfloat16 first, so the same weights loaded in float32 or in bfloat16 are the same; ``exact``
    leaves the rounding out, so that the smallest step of training shows. Adapter tensors are left out and their layers'
    wrapping is undone: a model with an adapter has its base's digest.
    """
    digest = hashlib.blake2b(digest_size=16)
    for module in modules:
        tensors = {name.replace(".base_layer.", "."): value for name, value in module.state_dict().items()}
        for name in sorted(tensors):
            if ".lora_" in name:
                continue
            value = tensors[name].detach().reshape(-1)
            step = max(1, value.numel() // 1024)
            digest.update(f"{name}{tuple(tensors[name].shape)}".encode())
            digest.update(_bits(value[::step], exact))
    return digest.hexdigest()


class WriteCounter:
    """Counts how often parameters may have been written to: by torch's own counters, and by every optimizer's steps,
    since fused optimizers leave those counters alone.

    Args:
        parameters: The parameters to watch.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._steps = steps = [0]  # the hook outlives an object that it holds, so it holds only this

        def stepped(*_: Any) -> None:
            steps[0] += 1

        weakref.finalize(self, register_optimizer_step_post_hook(stepped).remove)

    def __call__(self) -> int:
        """The count; while it stays, so do the values."""
        return self._steps[0] + sum(parameter._version for parameter in self._parameters)


def disable_dropout(module: nn.Module) -> None:
    """Sets every dropout to 0: drawn anew for policy and reference, it would bias the margin in any mode."""
    layer: Any
    for layer in module.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            layer.p = 0.0
        if isinstance(getattr(layer, "attention_dropout", None), float):  # what a layer tells a function of attention
            layer.attention_dropout = 0.0


def without_cast_cache(device: torch.device) -> torch.autocast:
    """The surrounding autocast, but for its memory of casts: those made without a gradient, or of weights that are only
    lent, must not be met again by the policy's own pass."""
    kind = device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False)


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """The precision of the surrounding autocast; None where there is none."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _bits(values: Tensor, exact: bool) -> bytes:
    if values.is_floating_point():
        values = values.to(torch.float64) if exact else values.to(torch.bfloat16)
    return values.contiguous().cpu().view(torch.uint8).numpy().tobytes()

"""Utilities for networks: unwrapping, hashes of weights, detection of writes, dropout, autocast."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook


def unwrap(module: nn.Module) -> nn.Module:
    """Returns the network inside distributed and compiled wrappers."""
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
    """Returns 32 hex digits that identify weights by every tensor's name, shape and up to 1024 evenly spaced values.

    Values are rounded to bfloat16 first, so weights loaded in float32 and in bfloat16 have one digest. ``exact`` omits
    the rounding, so that the smallest step of training shows. Adapter tensors are skipped and the names of their layers
    restored: a model with an adapter has its base's digest.
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
    """Counts possible writes to parameters: torch's own counters, plus the steps of every optimizer, since fused
    optimizers do not increase those counters.

    Args:
        parameters: The parameters to watch.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self._parameters = list(parameters)
        self._steps = steps = [0]  # the hook outlives an object that it holds, so it holds only this

        def count_step(*_: Any) -> None:
            steps[0] += 1

        weakref.finalize(self, register_optimizer_step_post_hook(count_step).remove)

    def __call__(self) -> int:
        """Returns the count. While it is the same, so are the values."""
        return self._steps[0] + sum(parameter._version for parameter in self._parameters)


def below(name: str, segments: Iterable[str]) -> bool:
    """Returns whether the path of a layer or tensor has one of these segments."""
    return not set(segments).isdisjoint(name.split("."))


def disable_dropout(module: nn.Module) -> None:
    """Sets every dropout to 0: policy and reference would draw different masks, which biases the margin."""
    layer: Any
    for layer in module.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            layer.p = 0.0
        if isinstance(getattr(layer, "attention_dropout", None), float):  # argument of a functional attention
            layer.attention_dropout = 0.0


def without_cast_cache(device: torch.device) -> torch.autocast:
    """Returns the surrounding autocast without its cache of casts: the policy's own pass must not reuse casts that were
    made without a gradient, or of tensors that replaced its parameters for a while.
    """
    kind = device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False)


def mixed_precision(device: torch.device) -> torch.dtype | None:
    """Returns the precision of the surrounding autocast, or None without one."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def _bits(values: Tensor, exact: bool) -> bytes:
    if values.is_floating_point():
        values = values.to(torch.float64) if exact else values.to(torch.bfloat16)
    return values.contiguous().cpu().view(torch.uint8).numpy().tobytes()

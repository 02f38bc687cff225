"""Converts an optimizer's state to named tensors and JSON, and back, to the bit.

``optimizer.load_state_dict`` would cast tensors to the parameter's type and device; here each
tensor is restored as it was. Paged tensors, which a CUDA device and the CPU share, are made by the optimizer that pages
them, and those that exist are written again: their library never frees one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

SEPARATOR = "\x1f"
PAGED_ENTRIES = ("state1", "state2")
"""What bitsandbytes calls the moments, which it may page."""


def flatten(optimizer: Optimizer, names: Mapping[str, nn.Parameter]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Splits the state into tensors (``"parameter\\x1fentry"``) and plain values.

    Args:
        optimizer: The optimizer.
        names: The parameters that it updates, by name.
    """
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    on_cpu: list[str] = []
    for name, parameter in names.items():
        for entry, value in optimizer.state.get(parameter, {}).items():
            key = f"{name}{SEPARATOR}{entry}"
            if isinstance(value, Tensor):
                tensors[key] = value.detach().cpu().clone()
                if value.device.type == "cpu" != parameter.device.type:
                    on_cpu.append(key)
            else:
                plain[key] = value
    return tensors, {"plain": plain, "on_cpu": on_cpu}


def restore(
    optimizer: Optimizer, names: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> None:
    """Restores a flattened state."""
    make_paged: Any = getattr(optimizer, "get_state_buffer", None) if getattr(optimizer, "is_paged", False) else None
    earlier = {parameter: dict(state) for parameter, state in optimizer.state.items()}
    optimizer.state.clear()
    on_cpu = set(facts["on_cpu"])
    for key, value in {**tensors, **facts["plain"]}.items():
        name, entry = key.split(SEPARATOR)
        parameter = names[name]
        if isinstance(value, Tensor) and make_paged is not None and entry in PAGED_ENTRIES:
            there = earlier.get(parameter, {}).get(entry)
            value = (make_paged(parameter, dtype=value.dtype) if there is None else there).copy_(value)
        elif isinstance(value, Tensor):
            value = value.to(torch.device("cpu") if key in on_cpu else parameter.device, copy=True)
        optimizer.state[parameter][entry] = value

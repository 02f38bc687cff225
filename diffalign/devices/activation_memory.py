"""The memory that a forward pass keeps for the backward pass, found by following the pass without computing it.

A copy of the network runs forward on tensors that have a shape, a type and a device, but no values and no memory
(torch's fake tensors), while every tensor that it makes is counted until it is freed:

    kept = what is alive after the pass                        activations, and casts of weights by autocast
    peak = max(alive at any time)                              without checkpoints
    peak = max(alive at the end, kept + largest segment)       with them: a segment is computed again, one at a time

Bytes are those of the tensors. Left out are the gradients, which are as large as what trains, the backward pass's own
temporary tensors, and what kernels and the allocator take for themselves.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CHECKPOINT = "_gradient_checkpointing_func"
"""Attribute of a module of diffusers or transformers: the function that calls its checkpointed segments."""


def activation_bytes(
    network: nn.Module,
    forward: Callable[[nn.Module], Tensor],
    precision: AbstractContextManager[Any],
    device: torch.device | None = None,
) -> int:
    """Returns the peak of a forward pass with gradient, and of the segments that are computed again, in bytes.

    Args:
        network: The network; it is neither called nor changed.
        forward: Calls a network like it. Tensors that it brings along must be real.
        precision: The autocast of training.
        device: Where the network will be; None: where it is.

    Raises:
        Exception: The pass depends on values of tensors, or has a part that torch cannot follow.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    fake = FakeTensorMode(allow_non_fake_inputs=True)
    alive = LiveBytes()
    with fake:
        twin = _without_values(network, device)
    segments = _Segments(alive, twin)
    with fake, alive, torch.enable_grad():
        with precision:
            output = forward(twin)
            at_end = alive.now
        kept = alive.now
    del output
    return max(at_end, kept + segments.largest) if segments.inputs else alive.peak


def passing_bytes(network: nn.Module, run: Callable[[nn.Module], Any], device: torch.device) -> int:
    """Returns the most bytes of tensors that are alive at once while ``run`` computes without a gradient or values.

    It is given a copy of the network without values, on ``device``. Weights are not counted.

    Raises:
        Exception: As for :func:`activation_bytes`.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    alive, fake = LiveBytes(), FakeTensorMode(allow_non_fake_inputs=True)
    with fake:
        twin = _without_values(network, device)
    with fake, alive, torch.no_grad():
        run(twin)
    return alive.peak


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are made within the block, until they are freed.

    Attributes:
        now: Bytes alive.
        peak: The largest number so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        given = {value.untyped_storage()._cdata for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)}
        for value in tree_leaves(output):
            if isinstance(value, Tensor):
                self._add(value.untyped_storage(), given)
        return output

    def _add(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive or key in given:  # a view of something else
            return

        def free(_: Any) -> None:
            self.now -= size
            del self._alive[key]

        self._alive[key] = weakref.ref(storage, free)
        self.now += size
        self.peak = max(self.peak, self.now)


class _Segments:
    """Takes the place of a network's checkpoints: it measures each segment, keeps its inputs and drops the rest."""

    def __init__(self, alive: LiveBytes, network: nn.Module) -> None:
        self.inputs: list[Any] = []
        self.largest = 0
        self._alive = alive
        for module in network.modules():
            if hasattr(module, CHECKPOINT):
                setattr(module, CHECKPOINT, self)

    def __call__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        before = self._alive.now
        output = function(*args, **kwargs)
        self.largest = max(self.largest, self._alive.now - before)
        self.inputs.append((args, kwargs))
        return tree_map(_cut, output)


def _cut(value: Any) -> Any:
    """Returns a tensor without the graph that made it, but with a gradient where it had one."""
    return value.detach().requires_grad_() if isinstance(value, Tensor) and value.requires_grad else value


def _without_values(network: nn.Module, device: torch.device | None) -> nn.Module:
    """Returns a copy of a network whose parameters and buffers have no values; within a mode of fake tensors."""
    memo: dict[int, Any] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        whole = torch.empty(tensor.shape) if 0 in tensor.stride() else tensor  # one number repeated: see `weightless`
        empty = torch.empty_strided(whole.size(), whole.stride(), dtype=tensor.dtype, device=device or tensor.device)
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, requires_grad=tensor.requires_grad)
        memo[id(tensor)] = empty
    return copy.deepcopy(network, memo)

"""Block offload: the frozen weights of a network's blocks lie in host memory, and on the device while their block runs.

    before block k runs     its weights come, in one copy; those of the block that followed it last time are sent for
    after it                its module points to host memory again; the copy lives as long as the graph needs it

A pass with gradient keeps what it computed with, so the blocks' activations must be checkpointed: then the backward
pass runs each block again, which fetches its weights again. The device holds two blocks at most. What trains stays on
the device. On CUDA host memory is pinned and copies are made on a stream of their own. Numbers stay the same bits.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from diffalign.devices.movable import OFFLOADED

OFFLOAD_NOTE = "the frozen weights of the blocks are in host memory, and come when their block runs"
ALIGNMENT = 256
"""Bytes to which each tensor of a block is aligned."""


@dataclass(frozen=True)
class _Slot:
    """Where a tensor of a block lies: in which module under which name, and at which byte of the block's memory."""

    holder: dict[str, Any]
    name: str
    tensor: Tensor
    start: int

    def view(self, flat: Tensor) -> Tensor:
        """Returns the tensor's part of the block's memory."""
        numbers = flat[self.start : self.start + self.tensor.nbytes].view(self.tensor.dtype)
        return numbers.as_strided(self.tensor.size(), self.tensor.stride())


class Block:
    """A block with its frozen tensors in one piece of host memory.

    Args:
        module: The block. Its tensors become views of that piece.
        device: Where it runs.
    """

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.slots: list[_Slot] = []
        self.bytes = 0
        for part in module.modules():
            for holder in (part._parameters, part._buffers):
                for name, tensor in holder.items():
                    if tensor is not None and not tensor.requires_grad:
                        self.slots.append(_Slot(holder, name, tensor, self.bytes))
                        self.bytes += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
                        setattr(tensor, OFFLOADED, True)
        if not any(0 in slot.tensor.stride() for slot in self.slots):  # otherwise it has no weights: see `weightless`
            self.host = torch.empty(self.bytes, dtype=torch.uint8, pin_memory=device.type == "cuda")
            for slot in self.slots:
                slot.tensor.data = slot.view(self.host).copy_(slot.tensor.data)

    @contextmanager
    def pointed_to(self, flat: Tensor) -> Iterator[None]:
        """Within the block its modules have the tensors of a copy."""
        for slot in self.slots:
            slot.holder[slot.name] = slot.view(flat)
        try:
            yield
        finally:
            for slot in self.slots:
                slot.holder[slot.name] = slot.tensor


class BlockOffload:
    """The owner of a network's offloaded blocks.

    Args:
        modules: The blocks, in no order: the order in which they run is learnt.
        device: Where they run.

    Attributes:
        resident: Bytes of copies that are alive on the device.
        peak: The largest number so far.
        copies: Copies so far.
    """

    def __init__(self, modules: Iterable[nn.Module], device: torch.device) -> None:
        self.resident = self.peak = self.copies = 0
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._followed: dict[tuple[Block, bool], Block] = {}
        self._last: tuple[Block, bool] | None = None
        self._ahead: tuple[Block, Tensor] | None = None
        for module in modules:
            _OWNERS[module] = (self, Block(module, device))
            kind: Any = type(module)
            module.__class__ = _fetching(kind)

    @contextmanager
    def running(self, block: Block) -> Iterator[None]:
        """Within the ``with`` block ``block`` is on the device, and the one that usually follows is sent for."""
        now = (block, torch._C._current_graph_task_id() != -1)  # whether a backward pass runs it again
        if self._last is not None:
            self._followed[self._last] = block
        self._last = now
        flat = self._take(block)
        following = self._followed.get(now)
        if following is not None:
            self._ahead = (following, flat if following is block else self._fetch(following))
        with block.pointed_to(flat):
            yield

    def _take(self, block: Block) -> Tensor:
        ahead, self._ahead = self._ahead, None
        flat = ahead[1] if ahead is not None and ahead[0] is block else None
        del ahead  # a wrong guess is freed before the right block is fetched
        flat = self._fetch(block) if flat is None else flat
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            flat.record_stream(current)
        return flat

    @torch.no_grad()
    def _fetch(self, block: Block) -> Tensor:
        with torch.cuda.stream(self._stream):  # does nothing without one
            flat = torch.empty_like(block.host, device=self._device).copy_(block.host, non_blocking=True)
        self.copies += 1
        self.resident += block.bytes
        self.peak = max(self.peak, self.resident)
        weakref.finalize(flat.untyped_storage(), self._freed, block.bytes)
        return flat

    def _freed(self, count: int) -> None:
        self.resident -= count


_OWNERS: weakref.WeakKeyDictionary[nn.Module, tuple[BlockOffload, Block]] = weakref.WeakKeyDictionary()
"""Of each offloaded block. Copies of a network have none: they compute with the tensors that they have."""


@cache
def _fetching(kind: type[nn.Module]) -> type[nn.Module]:
    """Returns the class, under its own name, whose forward pass fetches its weights."""

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if self not in _OWNERS:
            return kind.forward(self, *args, **kwargs)
        owner, block = _OWNERS[self]
        with owner.running(block):
            return kind.forward(self, *args, **kwargs)

    return type(kind.__name__, (kind,), {"forward": forward, "__doc__": kind.__doc__})


def offload_blocks(blocks: Iterable[nn.Module], device: torch.device) -> BlockOffload:
    """Moves the frozen weights of a network's blocks to host memory, from where each comes when it runs.

    Args:
        blocks: Modules that are checkpointed one by one, none within another. They are in host memory.
        device: Where they run.
    """
    return BlockOffload(blocks, device)


def bytes_saved(network: nn.Module, own_memory: bool = True) -> int:
    """Returns the bytes that a device does not hold of a network's weights, two of its largest blocks there. Where the
    device's memory is the host's nothing is saved, and the copies of two blocks are needed in addition: a number below
    zero. 0 where no block is offloaded.
    """
    sizes = sorted(_OWNERS[module][1].bytes for module in network.modules() if module in _OWNERS)
    return (sum(sizes) if own_memory else 0) - sum(sizes[-2:])

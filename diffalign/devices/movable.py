"""Modules that move between a device and host memory, in place: parameters stay the objects that an optimizer holds.

Host memory is pinned beside a CUDA device, so that copies are fast and can overlap with work. Every tensor moves as it
is stored: a packed weight moves packed, a tied one once. Where the device's memory is the host's nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

HOST = torch.device("cpu")
OFFLOADED = "_offloaded"
"""Attribute of a tensor that stays in host memory: its block fetches copies (`block_offload`)."""


def pinned_like(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns memory of the host for a tensor, pinned beside a CUDA device, without its values."""
    pinned = device.type == "cuda"
    return torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, pin_memory=pinned)


def distinct_tensors(modules: Iterable[nn.Module]) -> Iterator[Tensor]:
    """Yields the parameters and buffers of modules, each once, but those of offloaded blocks."""
    seen: set[int] = set()
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if id(tensor) not in seen and not hasattr(tensor, OFFLOADED):
                seen.add(id(tensor))
                yield tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Returns a copy of a tensor on a device. From pinned memory it is made while the host goes on."""
    return tensor.to(device, non_blocking=True)


def is_on_host(tensor: Tensor) -> bool:
    """Whether a tensor lies in host memory."""
    return tensor.device.type == HOST.type


@torch.no_grad()
def place(module: nn.Module, device: torch.device) -> None:
    """Moves a module's tensors to a device, in place."""
    for tensor in distinct_tensors([module]):
        tensor.data = tensor.data.to(device)


class Movable:
    """Implements :class:`~diffalign.devices.residency.Part` for modules.

    Args:
        modules: Returns the modules.
        device: Where they work.
        present: Whether they are there now; otherwise they are in host memory.
        unchanging: No tensor ever changes, so one copy in host memory is kept, and going away copies nothing.
    """

    def __init__(
        self,
        modules: Callable[[], Iterable[nn.Module]],
        device: torch.device,
        *,
        present: bool,
        unchanging: bool = False,
    ) -> None:
        self._modules, self._device, self._unchanging = modules, device, unchanging
        self._present = present
        self._copies: dict[int, Tensor] = {}

    @property
    def present(self) -> bool:
        """Whether the modules are on the device."""
        return self._present

    @torch.no_grad()
    def bring(self) -> None:
        """Moves the modules to the device."""
        if not self._present and self._device.type != HOST.type:
            for tensor in distinct_tensors(self._modules()):
                if self._unchanging and is_on_host(tensor):
                    self._copies[id(tensor)] = tensor.data
                tensor.data = to_device(tensor.data, self._device)
        self._present = True

    @torch.no_grad()
    def send_away(self) -> None:
        """Moves the modules to host memory."""
        if self._present and self._device.type != HOST.type:
            for tensor in distinct_tensors(self._modules()):
                if not is_on_host(tensor):
                    tensor.data = self._host_copy(tensor)
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
                torch.cuda.empty_cache()
        self._present = False

    def _host_copy(self, tensor: Tensor) -> Tensor:
        kept = self._copies.get(id(tensor))
        return kept if kept is not None else pinned_like(tensor, self._device).copy_(tensor.data, non_blocking=True)

"""Computes the memory of a module, the free memory of a device, and the device to use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import nn

GB = 10**9


def best_device() -> torch.device:
    """Returns the accelerator where there is one (CUDA, then Apple's), otherwise the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def module_bytes(module: nn.Module) -> int:
    """Returns the bytes of a module's parameters and buffers; shared ones count once."""
    tensors = {tensor.data_ptr() or id(tensor): tensor for tensor in [*module.parameters(), *module.buffers()]}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def available_bytes(device: torch.device | str) -> int:
    """Returns the bytes that can still be allocated on ``device``, without a safety margin.

    For CUDA: the driver's free memory plus unused memory of torch's allocator. For the CPU: the kernel's available
    memory, within the limit of the control group (a container).
    """
    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    free = _available_ram()
    limit, used = _read_number("/sys/fs/cgroup/memory.max"), _read_number("/sys/fs/cgroup/memory.current")
    return free if limit is None or used is None else max(0, min(free, limit - used))


def format_bytes(count: float) -> str:
    """Formats bytes as ``"3.4 GB"`` or ``"12 MB"``: decimal units, two figures."""
    for unit, size in (("GB", GB), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 10 * size else f"{count / size:.0f} {unit}"
    return f"{int(count)} bytes"


def _available_ram() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: half of the machine's memory is a cautious estimate
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _read_number(path: str) -> int | None:
    try:
        text = Path(path).read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def peak_bytes() -> int:
    """Returns the most memory in use so far, in bytes: the accelerator's where one was used, otherwise the process's.

    0 where the system has no such number.
    """
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024

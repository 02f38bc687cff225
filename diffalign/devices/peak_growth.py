"""How much more memory a block of code takes than there was before it: the accelerator's, or the process's on Linux."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


class PeakGrowth:
    """Measures the growth of memory in a block, up to its highest point.

    Args:
        device: The device of the computation.

    Attributes:
        bytes: The growth; None before the end, and where the system cannot say.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes: int | None = None
        self._cuda = device if device.type == "cuda" else None
        self._before: int | None = None

    def __enter__(self) -> PeakGrowth:
        if self._cuda is not None:
            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
        else:
            self._before = _resident("VmRSS") if _reset_peak() else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        peak = torch.cuda.max_memory_allocated(self._cuda) if self._cuda is not None else _resident("VmHWM")
        if self._before is not None and peak is not None:
            self.bytes = max(0, peak - self._before)


def _reset_peak() -> bool:
    """Sets the process's highest resident size back to the present one. Returns whether the system does that."""
    try:
        RESET.write_text("5")
    except OSError:
        return False
    return True


def _resident(name: str) -> int | None:
    try:
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None
    return int(line.split()[1]) * 1024

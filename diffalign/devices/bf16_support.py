"""Precision: whether a device computes in bfloat16, or only stores it and converts for every product."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

LIMIT = 0.8
"""bf16 pays where it takes at most this share of float32's time. One thread took 0.55 of it with AVX512-BF16, 2.4 times
as long with AVX-512 that only converts, 19 times with AVX2."""
REPEATS = 5
CLOCK = time.perf_counter if os.name == "nt" else time.thread_time  # Windows counts a thread's time in steps of 16 ms


@dataclass(frozen=True)
class Bf16:
    """What became of trying bf16 on a device.

    Args:
        pays: Whether bf16 is faster there than float32.
        reason: Why, as a clause that begins with "bf16".
        factor: Its time as a multiple of float32's, where it was measured.
    """

    pays: bool
    reason: str
    factor: float | None = None


def try_bf16(device: torch.device | str) -> Bf16:
    """Whether bf16 is worth it on ``device``: what a GPU says of itself, and on a CPU a trial of milliseconds, once per
    process. A CPU's own flags are not read: libraries may be configured not to use its units.
    """
    device = torch.device(device)
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Bf16(True, "bf16 is native on this GPU")
        return Bf16(False, "bf16 is not native on this GPU")
    if device.type != "cpu":
        return Bf16(False, f"bf16 is not used on {device.type}")
    factor = _cpu_factor()
    return Bf16(factor <= LIMIT, f"bf16 takes {factor:.2g} times as long as float32 on this processor", factor)


@functools.cache
def _cpu_factor() -> float:
    """Time of a product and a convolution in bf16 as a multiple of float32's: the best of some tries on one thread,
    counted in that thread's own time, so that other work on the machine does not show.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        single, half = _layers(torch.float32), _layers(torch.bfloat16)
        single(), half()  # the first call also makes its kernel
        times = [(_seconds(single), _seconds(half))]
        while len(times) < REPEATS and times[0][1] < 4 * times[0][0]:
            times.append((_seconds(single), _seconds(half)))
    finally:
        torch.set_num_threads(threads)
    return min(time for _, time in times) / min(time for time, _ in times)


def _layers(dtype: torch.dtype) -> Callable[[], Tensor]:
    """A linear layer and a convolution, both small."""
    values = torch.linspace(-1, 1, 256 * 256).to(dtype)
    matrix, maps, kernel = values.view(256, 256), values.view(4, 64, 16, 16), values[: 64 * 64 * 9].view(64, 64, 3, 3)

    @torch.no_grad()
    def run() -> Tensor:
        with torch.autocast("cpu", enabled=False):
            F.linear(matrix, matrix)
            return F.conv2d(maps, kernel, padding=1)

    return run


def _seconds(run: Callable[[], Tensor]) -> float:
    start = CLOCK()
    run()
    return CLOCK() - start

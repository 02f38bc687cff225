"""Measuring: each variant in a forked child of its own, variants interleaved round by round, on one thread.

The clock is CPU seconds of the child, so a busy neighbour does not decide; memory is the child's peak resident set over
what it had right after the fork. On a GPU both are the device's: seconds until it is done, and its peak. Even rounds go
through the variants forwards, odd rounds backwards.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Prepare = Callable[[], Callable[[], Any]]
"""Sets a variant up and returns its step."""
Clock = Callable[[], float]
"""Seconds so far."""


def clock(device: str) -> Clock:
    """Of this process's CPU work; for another device those on the wall, when all that was asked of it is done."""
    if device == "cpu":
        return time.process_time

    def when_done() -> float:
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    return when_done


@dataclass
class Measured:
    """What a variant took, and what its steps returned."""

    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)

    @property
    def step(self) -> float:
        """Median seconds of a step."""
        return median(self.seconds)

    @property
    def memory(self) -> float:
        """Median peak memory over libraries, MB."""
        return median(self.megabytes)


def interleaved(
    variants: Mapping[str, Prepare], *, rounds: int, steps: int, device: str = "cpu"
) -> dict[str, Measured]:
    """Measures ``steps`` steps of each variant in each round, after one step to warm up."""
    results = {name: Measured() for name in variants}
    for number in range(rounds):
        order = list(variants)[:: 1 if number % 2 == 0 else -1]
        for name in order:
            seconds, megabytes, told = _in_child(variants[name], steps, device)
            results[name].seconds += seconds
            results[name].megabytes.append(megabytes)
            results[name].told += told
            print(f"round {number + 1}/{rounds}  {name:<34} {median(seconds):6.2f} s  {megabytes:6.0f} MB", flush=True)
    return results


def _in_child(prepare: Prepare, steps: int, device: str) -> tuple[list[float], float, list[Any]]:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(prepare, steps, device, sender))
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        child.join()
        raise SystemExit(f"a variant died with exit code {child.exitcode}; its message is above") from None
    finally:
        child.join()


def _work(prepare: Prepare, steps: int, device: str, sender: Any) -> None:
    _reset_peak()
    before, now = _peak(device), clock(device)
    step = prepare()
    step()
    seconds, told = [], []
    for _ in range(steps):
        started = now()
        told.append(step())
        seconds.append(now() - started)
    sender.send((seconds, (_peak(device) - before) / 1e6, told))
    sender.close()


def _reset_peak() -> None:
    """A forked child starts at its own size: Linux forgets the peak when told so."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak(device: str) -> float:
    """Peak resident set, or peak of a GPU's memory, in bytes."""
    if device != "cpu":
        import torch

        return float(torch.cuda.max_memory_allocated())
    try:
        with open("/proc/self/status") as file:
            return next(float(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

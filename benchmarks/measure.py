"""Measures time and memory of variants, each in a forked child process, interleaved round by round, on one thread.

Time is CPU seconds of the child, so other processes have little effect. Memory is the child's peak resident set minus
its size right after the fork. On a GPU both are the device's: wall-clock seconds with synchronisation, and peak memory.
Even rounds run the variants forwards, odd rounds backwards.
"""

from __future__ import annotations

import multiprocessing
import resource
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

Prepare = Callable[[], Callable[[], Any]]
"""Sets up a variant and returns its step."""
Clock = Callable[[], float]
"""Returns seconds."""


def clock(device: str) -> Clock:
    """Returns a clock: CPU seconds of this process, or for a GPU wall-clock seconds after synchronisation."""
    if device == "cpu":
        return time.process_time

    def synchronised() -> float:
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised


@dataclass
class Measurement:
    """Time and memory of a variant, and the return values of its steps."""

    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)
    returned: list[Any] = field(default_factory=list)

    @property
    def step(self) -> float:
        """Median seconds of a step."""
        return median(self.seconds)

    @property
    def memory(self) -> float:
        """Median peak memory above that of the imported libraries, MB."""
        return median(self.megabytes)


def measure_interleaved(
    variants: Mapping[str, Prepare], *, rounds: int, steps: int, device: str = "cpu"
) -> dict[str, Measurement]:
    """Measures ``steps`` steps of each variant in each round, after one step to warm up."""
    results = {name: Measurement() for name in variants}
    for number in range(rounds):
        order = list(variants)[:: 1 if number % 2 == 0 else -1]
        for name in order:
            seconds, megabytes, returned = _in_child(variants[name], steps, device)
            results[name].seconds += seconds
            results[name].megabytes.append(megabytes)
            results[name].returned += returned
            print(f"round {number + 1}/{rounds}  {name:<34} {median(seconds):6.2f} s  {megabytes:6.0f} MB", flush=True)
    return results


TRIES = 4
"""Children of one measurement: torch's pool of threads sometimes aborts in a forked child ("Invalid thread pool")."""


def _in_child(prepare: Prepare, steps: int, device: str) -> tuple[list[float], float, list[Any]]:
    for _ in range(TRIES):
        found, status = _try_in_child(prepare, steps, device)
        if found is not None:
            return found
        if status != -signal.SIGABRT:
            break
    raise SystemExit(f"a variant failed with exit code {status}; its message is above")


def _try_in_child(
    prepare: Prepare, steps: int, device: str
) -> tuple[tuple[list[float], float, list[Any]] | None, int | None]:
    """Returns what a child measured, None where it failed, and its exit code."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(prepare, steps, device, sender))
    child.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        found = None
    child.join()
    return found, child.exitcode


def _work(prepare: Prepare, steps: int, device: str, sender: Any) -> None:
    _reset_peak()
    before, now = _peak(device), clock(device)
    step = prepare()
    step()
    seconds, returned = [], []
    for _ in range(steps):
        started = now()
        returned.append(step())
        seconds.append(now() - started)
    sender.send((seconds, (_peak(device) - before) / 1e6, returned))
    sender.close()


def _reset_peak() -> None:
    """Resets the peak resident set of a forked child to its current size, through Linux's ``clear_refs``."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _peak(device: str) -> float:
    """Returns the peak resident set, or the peak of a GPU's memory, in bytes."""
    if device != "cpu":
        import torch

        return float(torch.cuda.max_memory_allocated())
    try:
        with open("/proc/self/status") as file:
            return next(float(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

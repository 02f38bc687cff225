"""Prints the progress of a run: a moving line on a terminal, plain lines in a log file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from diffalign.printable import one_line, printable

SHOWN = {"loss": "loss", "rewards/accuracies": "acc", "rewards/margins": "margin", "grad_norm": "grad"}


class ProgressReport:
    """Prints to the terminal, on the first process only.

    Args:
        total: Optimizer steps of the run.
        active: False prints nothing.
        console: The console; standard error by default.
    """

    def __init__(self, total: int, active: bool = True, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, quiet=not active)
        self.total = total
        self.start: tuple[float, int] | None = None
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.bar = Progress(
            *columns, TextColumn("{task.fields[numbers]}", markup=False), console=self.console, transient=True
        )
        self.task: Any = None
        self.moving = active and self.console.is_terminal
        self._last: tuple[str, float] = ("", 0.0)
        self._first: tuple[float, int] = (0.0, 0)

    def __enter__(self) -> ProgressReport:
        if self.moving:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.moving:
            self.bar.stop()

    def say(self, text: str) -> None:
        """Prints a paragraph."""
        self.console.print(printable(text), markup=False, soft_wrap=True)

    def preparing(self, what: str, done: int, total: int) -> None:
        """Shows the progress of a long computation and the time left: on a terminal a bar, otherwise a line every ten
        seconds.
        """
        what = one_line(what)
        if self.moving:
            if self._last[0] != what:
                self._drop()
                self.task = self.bar.add_task(what, total=total, numbers="")
            self.bar.update(self.task, completed=done, total=total)
            self._last = (what, 0.0)
        elif done >= total or self._last[0] != what or time.monotonic() - self._last[1] > 10:
            if self._last[0] != what:
                self._first = (time.monotonic(), done)
            left = "" if done >= total else _time_left(*self._first, done, total)
            self.say(f"{what}: {done}/{total}{'  ' if left else ''}{left}")
            self._last = (what, time.monotonic())

    def step(self, done: int) -> None:
        """Shows that an optimizer step is done."""
        if self.start is None:
            self.start = (time.monotonic(), done - 1)
        if self.moving:
            if self._last[0] != "train":  # at the beginning, and after a stage with a bar of its own
                self._drop()
                self.task = self.bar.add_task("train", total=self.total, completed=done, numbers="")
                self._last = ("train", 0.0)
            self.bar.update(self.task, completed=done)

    def numbers(self, step: int, record: Mapping[str, float]) -> None:
        """Shows the most important numbers of a log line."""
        text = "  ".join(f"{short} {record[name]:.4g}" for name, short in SHOWN.items() if name in record)
        if self.moving:
            self.bar.update(self.task, numbers=text)
        else:
            self.say(f"step {step}/{self.total}  {text}  {self._left(step)}")

    def _left(self, step: int) -> str:
        return "" if self.start is None else _time_left(*self.start, step, self.total)

    def _drop(self) -> None:
        if self.task is not None:
            self.bar.remove_task(self.task)
            self.task = None


def _time_left(since: float, first: int, done: int, total: int) -> str:
    """Returns the time that the rest takes at the speed so far: of what was done after ``first``, ``since`` a time."""
    if done <= first:
        return ""
    seconds = (time.monotonic() - since) / (done - first) * (total - done)
    return f"left {int(seconds) // 3600:d}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"

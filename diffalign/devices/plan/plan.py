"""A plan: the stages of a run within a device's memory, and how it is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from diffalign.devices.device_memory import format_bytes
from diffalign.devices.plan.stage import Stage

CONTEXT = {"cuda": 1_200_000_000}
"""Bytes that a device's own context and the workspaces of its libraries take, by its type; 1 to 2 GiB were seen."""


@dataclass(frozen=True)
class Change:
    """A change of a recipe that saves memory.

    Args:
        settings: What it sets, by the path in the recipe.
        cost: What it costs, a sentence without its full stop.
    """

    settings: Mapping[str, object]
    cost: str

    def describe(self) -> str:
        """Returns it as a line: what to type, and what it costs."""
        typed = " ".join(f"--set {key}={yaml_word(value)}" for key, value in self.settings.items())
        return f"{typed}   ({self.cost})"


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of a run.

    Args:
        stages: Its stages, in their order.
        limit: Bytes of the device; None: not known.
        changes: What was changed in the recipe so that it fits, in order.
        disk: Bytes on disk by what they are: caches, checkpoints, the result.
        seconds: Seconds per step where an earlier run like it was timed.
        ratio: What such a run's first step took beside its weights, as a multiple of the plan.
        context: Bytes that the device's libraries take themselves.
    """

    stages: Sequence[Stage]
    limit: int | None = None
    changes: Sequence[Change] = ()
    disk: tuple[tuple[str, int], ...] = ()
    seconds: float | None = None
    ratio: float | None = None
    context: int = 0

    @property
    def peak(self) -> int:
        """Bytes of the stage that needs most."""
        return self.context + max((stage.total for stage in self.stages), default=0)

    @property
    def fits(self) -> bool:
        """Whether every stage fits; True without a limit."""
        return self.limit is None or self.peak <= self.limit

    def fits_stage(self, stage: Stage) -> bool:
        """Whether one stage fits."""
        return self.limit is None or self.context + stage.total <= self.limit

    def summary(self) -> str:
        """Returns one line: each stage's bytes, and what is free."""
        parts = ", ".join(f"{stage.name} {format_bytes(stage.total)}" for stage in self.stages)
        free = "" if self.limit is None else f"; {format_bytes(self.limit)} free"
        return f"{parts}{free}"

    def lines(self) -> list[str]:
        """Returns the table of the stages, then changes, disk and time, each a line."""
        rows: list[tuple[str, ...]] = [("stage", "weights", "gradients", "optimizer", "activations", "together", "")]
        for stage in self.stages:
            made = "unknown" if stage.activations is None else format_bytes(stage.activations)
            fits = "" if self.limit is None else "fits" if self.fits_stage(stage) else "does not fit"
            sizes = (sum(stage.weights.values()), stage.gradients, stage.optimizer)
            at_once = f" ({stage.at_once})" if stage.at_once else ""
            row = (stage.name, *map(format_bytes, sizes), made + at_once, format_bytes(stage.total), fits)
            rows.append(row)
        widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        for stage in self.stages:
            parts = " + ".join(f"{name} {format_bytes(size)}" for name, size in stage.weights.items())
            table.append(f"{stage.name} holds {parts or 'no weights'}")
        return [*table, *self._further_lines()]

    def _further_lines(self) -> list[str]:
        lines = [f"change  {change.describe()}" for change in self.changes]
        if self.context:
            lines.append(f"and {format_bytes(self.context)} for the context of the device's libraries")
        disk = ", ".join(f"{name} {format_bytes(size)}" for name, size in self.disk)
        lines.append(f"disk    {disk or 'nothing'}")
        timed = "not known: no run like this was timed here" if self.seconds is None else f"{self.seconds:.3g} s"
        if self.ratio is not None:
            lines.append(f"earlier run: its first step took {self.ratio:.2f} of the planned gradients to activations")
        return [*lines, f"time    a step: {timed}"]


def yaml_word(value: object) -> str:
    """Returns a number, word, boolean or None as YAML writes it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

"""What runs measured, kept for the plans of runs like them: seconds per step, and bytes beside the plan's."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from diffalign.errors import ConfigError, UserError
from diffalign.files.atomic import write_atomically
from diffalign.files.model_files import read_object

NAME = "calibration.json"
MOST = 200
"""Runs that are remembered; the oldest are forgotten."""


@dataclass(frozen=True)
class Measured:
    """What a run measured.

    Args:
        seconds: Of a step, after the first.
        planned: Bytes that the first step was planned to need beside the weights; 0: unknown.
        measured: Bytes that it took; 0: unknown.
    """

    seconds: float
    planned: int = 0
    measured: int = 0

    @property
    def ratio(self) -> float | None:
        """What was measured as a multiple of the plan; None where one of them is unknown."""
        return self.measured / self.planned if self.planned and self.measured else None


def read_calibration(folder: Path, key: str) -> Measured | None:
    """Returns what a run like ``key`` measured; None without one, or where the file cannot be read."""
    try:
        found = Measured(**_entries(folder)[key])
        values = float(found.seconds), float(found.planned), float(found.measured)
    except (KeyError, TypeError, ValueError):
        return None
    return found if all(math.isfinite(value) and value >= 0 for value in values) and found.seconds else None


def write_calibration(folder: Path, key: str, measured: Measured) -> None:
    """Remembers what a run measured. A folder that cannot be written is no error: nothing depends on it."""
    entries = {name: value for name, value in _entries(folder).items() if name != key}
    kept = dict([*entries.items(), (key, asdict(measured))][-MOST:])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / NAME, lambda path: path.write_text(json.dumps({"runs": kept}), encoding="utf-8"))
    except (OSError, UserError):
        return


def _entries(folder: Path) -> dict[str, Any]:
    try:
        runs = read_object(folder / NAME).get("runs") if (folder / NAME).is_file() else {}
    except ConfigError:
        return {}
    return runs if isinstance(runs, dict) else {}

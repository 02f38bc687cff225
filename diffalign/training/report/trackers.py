"""Where metrics are written: always a file of JSON lines, and the trackers that a recipe names."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from diffalign.errors import ConfigError, near_miss
from diffalign.evaluation.report.training_curves import read_metrics
from diffalign.files.json_lines import json_line
from diffalign.files.write_errors import explain_write_errors

PACKAGES = {
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "aim": "aim",
    "comet_ml": "comet-ml",
    "clearml": "clearml",
    "dvclive": "dvclive",
    "swanlab": "swanlab",
}
"""Trackers of accelerate, and the package that each needs."""


def check_trackers(names: Iterable[str]) -> list[str]:
    """Returns the names. Raises ConfigError for an unknown one, or with the package to install."""
    for name in names:
        if name not in PACKAGES:
            known = ", ".join(PACKAGES)
            raise ConfigError(f"log.trackers: there is no tracker '{name}'.{near_miss(name, PACKAGES)} Known: {known}.")
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"log.trackers: {name} needs a package that is not installed. Type: pip install {PACKAGES[name]}   "
                "or leave it out: --set log.trackers=[]   (metrics.jsonl is written in any case)"
            )
    return list(names)


KEPT = "the checkpoints are intact, and the run goes on from the last one with --resume"


class MetricsFile:
    """A file with one JSON object per line; each line is passed to the system before the next step begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a line. Raises RunError where the disk is full or the file cannot be written."""
        with explain_write_errors(self.path, KEPT), self.path.open("a", encoding="utf-8") as file:
            file.write(json_line(record))

    def size(self) -> int:
        """Returns the number of bytes so far, which a checkpoint stores."""
        return self.path.stat().st_size if self.path.exists() else 0

    def sync(self) -> None:
        """Waits until every line is on the disk. Raises RunError as :meth:`append`."""
        if self.path.exists():
            with explain_write_errors(self.path, KEPT), self.path.open("rb") as file:
                os.fsync(file.fileno())

    def cut(self, size: int) -> None:
        """Drops everything after ``size`` bytes: lines of steps that a resumed run repeats."""
        if self.size() > size:
            with explain_write_errors(self.path, KEPT), self.path.open("r+b") as file:
                file.truncate(size)

    def records(self) -> list[dict[str, Any]]:
        """Returns all lines so far that hold a record."""
        return read_metrics(self.path)

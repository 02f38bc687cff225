"""Short runs of a tiny image policy, for tests of what whole training steps do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from diffalign.training.loop import Result, train
from diffalign.training.recipe.load import make_recipe
from diffalign.training.recipe.schema import Recipe


def tiny_recipe(model: Path, output: Path, /, **changes: Any) -> Recipe:
    """Two plain gradient steps of two pairs. A section in ``changes`` adds to the one here, a choice replaces it."""
    values: dict[str, Any] = {
        "model": {
            "path": str(model),
            "cache": str(output.parent / "cache"),
            "adapter": {"rank": 2},
            "flip": "none",
            "caption_dropout": 0.0,
        },
        "data": {"train": "in memory"},
        "train": {
            "steps": 2,
            "batch_size": 2,
            "micro_batch_size": 2,
            "learning_rate": 1e-2,
            "scale_lr": False,
            "schedule": "constant",
            "warmup_steps": 0,
            "mixed_precision": "no",
        },
        "log": {"every": 1},
        "checkpoint": {"every": 0},
        "guard": {"action": "off"},
        "output": str(output),
    }
    if "method" not in changes:
        values["loss"] = {"name": "logistic", "beta": 500.0}
    for key, value in changes.items():
        values[key] = {**values[key], **value} if key in ("model", "train", "checkpoint") else value
    return make_recipe(values)


def run(model: Path, output: Path, pairs: Any, /, *, resume: bool = False, **changes: Any) -> Result:
    """Trains such a recipe."""
    return train(tiny_recipe(model, output, **changes), pairs=pairs, resume=resume)


def losses(output: Path) -> list[float]:
    """The loss of each step."""
    return [json.loads(line)["loss"] for line in (output / "metrics.jsonl").read_text().splitlines()]


def state(result: Result) -> dict[str, Tensor]:
    """What was trained."""
    return result.policy.state()

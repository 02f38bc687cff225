"""What the first step of a run measures beside its plan, and what later plans learn from a run."""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import torch

from diffalign.devices.device_memory import format_bytes
from diffalign.devices.plan.calibration import Measured, write_calibration
from diffalign.devices.plan.stage import Stage
from diffalign.policies.config import BaseModelConfig
from diffalign.training.recipe.schema import Recipe

TOLERANCE = 0.15
"""Share by which a measurement may differ from the plan before it is called another one."""

OF_A_STEP: tuple[str, ...] = ("batch_size", "micro_batch_size", "optimizer", "mixed_precision", "ema_decay")
OF_A_STEP += ("micro_batch_tokens", "draws_per_pair", "fast_slow", "gradient_checkpointing")
"""Settings of training that the time and memory of a step depend on."""


class Calibration:
    """Compares the first step with the plan, and remembers what the run measured.

    Args:
        recipe: The recipe of the run.
        device: The device of this process.
        processes: How many there are.
        update: The planned update; None: nothing was planned.
    """

    def __init__(self, recipe: Recipe, device: torch.device, processes: int, update: Stage | None) -> None:
        self._recipe, self._device, self._processes = recipe, device, processes
        known = update is not None and update.activations is not None
        self.planned = update.total - sum(update.weights.values()) if update is not None and known else 0
        self.measured = 0
        self.seconds = 0.0

    def compare(self, measured: int | None) -> str:
        """Returns a line that compares the memory of the first step with the plan; "" where one is not known."""
        self.measured = measured or 0
        if not (self.measured and self.planned):
            return ""
        line = f"memory   the first step took {format_bytes(self.measured)} beside the weights"
        ratio = self.measured / self.planned
        if abs(ratio - 1) <= TOLERANCE:
            return f"{line}, as planned ({format_bytes(self.planned)})"
        heap = " of tensors; on a CPU the C library's heap keeps what was freed" if self._device.type == "cpu" else ""
        return f"{line}, {ratio:.2f} of what was planned ({format_bytes(self.planned)}{heap})"

    def remember(self) -> None:
        """Keeps what the run measured for later plans."""
        folder = cache_folder(self._recipe)
        if self.seconds and folder is not None:
            key = calibration_key(self._recipe, self._device, self._processes)
            write_calibration(folder, key, Measured(self.seconds, self.planned, self.measured))


def calibration_key(recipe: Recipe, device: torch.device, processes: int) -> str:
    """Returns the name of runs whose steps take equal time and memory: model, settings of a step, device."""
    model = recipe.model.model_dump(mode="json") if hasattr(recipe.model, "model_dump") else {}
    train = recipe.train.model_dump(mode="json")
    settings: dict[str, Any] = {name: value for name, value in model.items() if name not in ("cache", "use_cache")}
    parts = [settings, {name: train[name] for name in OF_A_STEP}, str(recipe.loss.name), recipe.pairs.name]
    text = json.dumps([*parts, _device_name(device), processes], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def cache_folder(recipe: Recipe) -> Path | None:
    """Returns the folder that what is learnt from runs is kept in, the model's cache; None for a model without one."""
    return recipe.model.cache_folder() if isinstance(recipe.model, BaseModelConfig) else None


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()} {torch.get_num_threads()}"

"""The spike guard: is this step an outlier, and what is done about it?

Three series are watched: the logarithm of the gradient norm, the logarithm of the loss, and (for denoisers) the chosen
candidates' error against the reference. A step stands out when one of them lies more than ``threshold`` robust standard
deviations above the median of the last ``window`` quiet steps (1.4826 * median absolute deviation, but at least a tenth
of the scale). One outlier may be chance; ``patience`` of them in a row are a spike.

The verdict depends on the numbers alone, and the history travels in checkpoints: a resumed run decides the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from diffalign.training.recipe.schema import Guard as GuardConfig

Verdict = Literal["ok", "skip", "spike"]
ENOUGH = 20
"""Quiet steps before anything is judged."""


@dataclass(frozen=True)
class StepStats:
    """What one optimizer step showed, over all processes.

    Args:
        loss: Mean loss per pair.
        grad_norm: Global norm of the gradient before clipping.
        chosen_change: Mean error of the chosen candidates minus the reference's; None when the policy is no denoiser.
    """

    loss: float
    grad_norm: float
    chosen_change: float | None = None

    def series(self) -> dict[str, float]:
        """The watched numbers, on the scales on which they are compared."""
        found = {
            name: math.log(value) for name, value in (("loss", self.loss), ("grad_norm", self.grad_norm)) if value > 0
        }
        if self.chosen_change is not None:
            found["chosen_change"] = self.chosen_change
        return {name: value for name, value in found.items() if math.isfinite(value)}


class SpikeGuard:
    """Watches readings and says what to do with each step before the optimizer takes it."""

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.history: dict[str, list[float]] = {}
        self.streak = 0
        self.skips = 0
        self.outlier_metric = ""

    def check(self, reading: StepStats) -> Verdict:
        """``"ok"``, ``"skip"`` (leave this update out) or ``"spike"`` (``patience`` outliers in a row)."""
        if self.config.action == "off":
            return "ok"
        series = reading.series()
        outliers = [name for name, value in series.items() if self._stands_out(name, value)]
        if not outliers:
            self.streak = 0
            for name, value in series.items():
                self.history[name] = [*self.history.get(name, []), value][-self.config.window :]
            return "ok"
        self.outlier_metric = ", ".join(outliers)
        self.streak += 1
        if self.config.action == "skip":
            self.skips += 1
            return "skip" if self.skips <= self.config.max_skips else "spike"
        return "spike" if self.streak >= self.config.patience else "ok"

    def _stands_out(self, name: str, value: float) -> bool:
        past = self.history.get(name, [])
        if len(past) < min(ENOUGH, self.config.window):
            return False
        middle = median(past)
        spread = 1.4826 * median(abs(x - middle) for x in past)
        floor = 0.1 * abs(middle) if name == "chosen_change" else 0.1
        return value > middle + self.config.threshold * max(spread, floor)

    def reset_streak(self) -> None:
        """Forgets the present streak, after something was done about it."""
        self.streak = 0

    def compare_anew(self) -> None:
        """Forgets what was measured against a reference that is another one from now on."""
        self.history = {name: values for name, values in self.history.items() if name == "grad_norm"}

    def state(self) -> dict[str, Any]:
        """History and counters, for a checkpoint."""
        return {"history": self.history, "streak": self.streak, "skips": self.skips}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Puts a checkpoint's history back."""
        self.history = {name: list(values) for name, values in state["history"].items()}
        self.streak, self.skips = state["streak"], state["skips"]

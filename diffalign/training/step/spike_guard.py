"""The spike guard: decides whether a step is an outlier, and whether its update is taken.

It watches three series: the logarithm of the gradient norm, the logarithm of the loss, and (for denoisers) the chosen
candidates' error against the reference. A step is an outlier when one of them lies more than ``threshold`` robust
standard deviations above the median of the last ``window`` normal steps (1.4826 * median absolute deviation, but at
least a tenth of the scale). One outlier may be chance; ``patience`` of them in a row are a spike.

The verdict depends only on the numbers, and the history is part of checkpoints: a resumed run decides the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any, Literal

from diffalign.training.recipe.schema import Guard as GuardConfig
from diffalign.training.step.step_stats import StepStats

Verdict = Literal["ok", "skip", "spike"]
MIN_HISTORY = 20
"""Normal steps before the first step is checked."""


class SpikeGuard:
    """Decides what to do with each step before the optimizer takes it."""

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.history: dict[str, list[float]] = {}
        self.streak = 0
        self.skips = 0
        self.outlier_metric = ""

    def check(self, stats: StepStats) -> Verdict:
        """Returns ``"ok"``, ``"skip"`` (leave this update out) or ``"spike"`` (``patience`` outliers in a row)."""
        if self.config.action == "off":
            return "ok"
        series = stats.series()
        outliers = [name for name, value in series.items() if self._is_outlier(name, value)]
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

    def _is_outlier(self, name: str, value: float) -> bool:
        past = self.history.get(name, [])
        if len(past) < min(MIN_HISTORY, self.config.window):
            return False
        middle = median(past)
        spread = 1.4826 * median(abs(x - middle) for x in past)
        floor = 0.1 * abs(middle) if name == "chosen_change" else 0.1
        return value > middle + self.config.threshold * max(spread, floor)

    def reset_streak(self) -> None:
        """Ends the present streak, once the run has reacted to it."""
        self.streak = 0

    def forget_reference(self) -> None:
        """Drops the history of all numbers that depend on the reference, when the reference changes."""
        self.history = {name: values for name, values in self.history.items() if name == "grad_norm"}

    def state(self) -> dict[str, Any]:
        """Returns history and counters, for a checkpoint."""
        return {"history": self.history, "streak": self.streak, "skips": self.skips}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restores the history of a checkpoint."""
        self.history = {name: list(values) for name, values in state["history"].items()}
        self.streak, self.skips = state["streak"], state["skips"]

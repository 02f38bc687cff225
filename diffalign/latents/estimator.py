"""Estimators of the latents at which candidates are scored: the type of a row, and a row with its settings.

An estimator takes clean latents ``x0`` and levels ``t`` and returns a :class:`Latent`. Some only mix in noise, others
follow a network's predictions; both take the same two callables, so a caller treats them alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from diffalign.latents.estimator_settings import EstimatorSetting
from diffalign.latents.schedule import Schedule
from diffalign.named_choice import bind_settings

Predict = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``predict(x, t, rows)``: a network's raw output for some rows of the batch, without gradient.

``x`` is ``(R, ...)``, ``t`` ``(R,)`` the level of the network's time, ``rows`` ``(R,)`` their indices in the batch, by
which the caller selects their conditioning.
"""

Noise = Callable[[str, bool], Tensor]
"""``noise(purpose, shared)``: standard normal numbers ``(B, ...)``, like ``x0``.

``shared``: both candidates of a comparison get the same numbers.
"""


@dataclass(frozen=True)
class Latent:
    """The latent at which a candidate is scored, and its target.

    Args:
        x_t: ``(B, ...)``, the network's input.
        t: ``(B,)`` long, its noise level.
        target: ``(B, ...)``, compared with the output.
    """

    x_t: Tensor
    t: Tensor
    target: Tensor


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A row of the table.

    Args:
        name: Its name in recipes and messages.
        function: ``f(x0, t, schedule, *, noise, predict, <settings>) -> Latent``.
        needs_network: Whether it follows a network's predictions.
        forward_counts: Claimed number of network evaluations per candidate: ``(t, levels, settings) -> (B,)`` long, for
            levels ``t`` of a schedule that has ``levels`` of them.
        limits: The allowed values of each setting.
        check: Raises ValueError for settings that exclude each other.
        neutral: Settings that were added later, each with the value that changes nothing. With these values an
            estimator is the one without the settings, so stored results stay valid.
        summary: One line for a listing.
        formula: Its formula, as plain text.
        source: Paper, with its identifier.
        advice: When to use it, and its costs.
    """

    name: str
    function: Callable[..., Latent]
    needs_network: bool
    forward_counts: Callable[[Tensor, int, Mapping[str, Any]], Tensor]
    limits: Mapping[str, EstimatorSetting] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], None] = lambda settings: None
    neutral: Mapping[str, Any] = field(default_factory=dict)
    summary: str
    formula: str
    source: str
    advice: str

    def bind(self, **values: Any) -> BoundEstimator:
        """Fixes the settings.

        Raises:
            ValueError: Unknown names, values that are not allowed, values that exclude each other.
        """
        settings = bind_settings("latents", self.name, self.function, values, supplied=("noise", "predict"))
        for name, value in settings.items():
            self.limits[name].check(name, value)
        self.check(settings)
        return BoundEstimator(self, settings)

    def explain(self) -> str:
        """Returns summary, formula, source, advice and settings as plain text."""
        settings = self.bind().settings
        takes = ", ".join(f"{name} = {_yaml(value)}" for name, value in settings.items()) or "no settings"
        return "\n".join(
            [
                f"{self.name}: {self.summary}",
                f"  latent   {self.formula}",
                f"  source   {self.source}",
                f"  advice   {self.advice}",
                f"  takes    {takes}",
                *(f"           {name} is {self.limits[name]}" for name in settings),
                f"  needs    {'a network' if self.needs_network else 'no network'}",
            ]
        )


@dataclass(frozen=True)
class BoundEstimator:
    """An estimator with its settings. Made by :meth:`Estimator.bind`."""

    estimator: Estimator
    settings: Mapping[str, Any]

    def __call__(self, x0: Tensor, t: Tensor, schedule: Schedule, *, noise: Noise, predict: Predict) -> Latent:
        """Returns the latents of a batch.

        Args:
            x0: ``(B, ...)`` clean latents in the network's scale.
            t: ``(B,)`` long, the level of each.
            schedule: The model's noise schedule.
            noise: Source of standard normal numbers.
            predict: The network, for estimators that need one.
        """
        return self.estimator.function(x0, t, schedule, noise=noise, predict=predict, **self.settings)

    @property
    def name(self) -> str:
        """The row's name."""
        return self.estimator.name

    @property
    def needs_network(self) -> bool:
        """Whether it follows a network's predictions."""
        return self.estimator.needs_network

    @property
    def identity(self) -> str:
        """Name and settings: two estimators of one identity return the same latents."""
        neutral = self.estimator.neutral
        changed = {name: value for name, value in self.settings.items() if (name, value) not in neutral.items()}
        return f"{self.name} {sorted(changed.items())}"

    def __str__(self) -> str:
        """Name, with the settings that are not the defaults: ``renoise (corrections 4)``."""
        usual = self.estimator.bind().settings
        changed = [f"{name} {_yaml(value)}" for name, value in self.settings.items() if value != usual[name]]
        return f"{self.name} ({', '.join(changed)})" if changed else self.name

    def forward_counts(self, t: Tensor, schedule: Schedule) -> Tensor:
        """Returns the number of network evaluations per candidate at each level, ``(B,)`` long."""
        return self.estimator.forward_counts(t.cpu(), schedule.levels, self.settings)


def table(*rows: Estimator) -> dict[str, Estimator]:
    """Rows by name."""
    names = [row.name for row in rows]
    assert len(names) == len(set(names)), f"a name occurs twice among {sorted(names)}"
    return {row.name: row for row in rows}


def _yaml(value: Any) -> str:
    """Returns a default as a recipe would write it."""
    return value if isinstance(value, str) else json.dumps(value)

"""Estimators: where a candidate is judged. A row of the table says what its function does and what it promises.

An estimator receives clean latents ``x0`` and levels ``t`` and answers with a :class:`Latent`. Some only mix in noise,
others ask a network on the way; both get the same two callables, so that a caller never asks which one it has.
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

``x`` is ``(R, ...)``, ``t`` ``(R,)`` the level to tell the network, ``rows`` ``(R,)`` which rows of the batch these
are: the caller picks their conditioning by it.
"""

Noise = Callable[[str, bool], Tensor]
"""``noise(purpose, shared)``: ``(B, ...)`` standard normal numbers, like ``x0``.

``shared``: both candidates of a comparison get the same numbers.
"""


@dataclass(frozen=True)
class Latent:
    """Where and against what a candidate is judged.

    Args:
        x_t: ``(B, ...)``, the network's input.
        t: ``(B,)`` long, its noise level.
        target: ``(B, ...)``, what the output is compared with.
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
        asks: Whether it asks a network.
        forward_counts: Claimed number of network evaluations per candidate: ``(t, levels, settings) -> (B,)`` long, for
            levels ``t`` of a schedule that has ``levels`` of them.
        limits: What each setting may be.
        summary: One line for a listing.
        formula: What it computes, as plain text.
        source: Paper, with its identifier.
        advice: When to take it, and what to watch.
    """

    name: str
    function: Callable[..., Latent]
    asks: bool
    forward_counts: Callable[[Tensor, int, Mapping[str, Any]], Tensor]
    limits: Mapping[str, EstimatorSetting] = field(default_factory=dict)
    summary: str
    formula: str
    source: str
    advice: str

    def bind(self, **given: Any) -> BoundEstimator:
        """Fixes the settings. Raises ValueError for an unknown or an impossible one."""
        settings = bind_settings("latents", self.name, self.function, given, supplied=("noise", "predict"))
        for name, value in settings.items():
            self.limits[name].check(name, value)
        return BoundEstimator(self, settings)

    def explain(self) -> str:
        """Everything a user wants to know before choosing it, as plain text."""
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
                f"  asks     {'a network' if self.asks else 'no network'}",
            ]
        )


@dataclass(frozen=True)
class BoundEstimator:
    """An estimator with its settings. Made by :meth:`Estimator.bind`."""

    estimator: Estimator
    settings: Mapping[str, Any]

    def __call__(self, x0: Tensor, t: Tensor, schedule: Schedule, *, noise: Noise, predict: Predict) -> Latent:
        """The latents of a batch.

        Args:
            x0: ``(B, ...)`` clean latents, scaled as the model wants them.
            t: ``(B,)`` long, the level of each.
            schedule: The model's noise schedule.
            noise: Where standard normal numbers come from.
            predict: The network, for estimators that ask one.
        """
        return self.estimator.function(x0, t, schedule, noise=noise, predict=predict, **self.settings)

    @property
    def name(self) -> str:
        """The row's name."""
        return self.estimator.name

    @property
    def asks(self) -> bool:
        """Whether it asks a network."""
        return self.estimator.asks

    def forward_counts(self, t: Tensor, schedule: Schedule) -> Tensor:
        """``(B,)`` long: how many network evaluations a candidate at each level costs."""
        return self.estimator.forward_counts(t.cpu(), schedule.levels, self.settings)


def table(*rows: Estimator) -> dict[str, Estimator]:
    """Rows by name. Two rows of one name are our own mistake."""
    names = [row.name for row in rows]
    assert len(names) == len(set(names)), f"a name occurs twice among {sorted(names)}"
    return {row.name: row for row in rows}


def _yaml(value: Any) -> str:
    """A default as a recipe would write it."""
    return value if isinstance(value, str) else json.dumps(value)

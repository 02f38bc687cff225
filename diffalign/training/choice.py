"""A choice on one axis: a name and its hyperparameters, as ``hard`` or ``{name: robust, beta: 2000, flip: 0.1}``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from diffalign.data.records import Pair
from diffalign.errors import near_miss
from diffalign.labels import LABELS
from diffalign.labels.label import Label
from diffalign.losses import LOSSES
from diffalign.losses.catalogue import BoundLoss, find


class Choice(BaseModel):
    """A name; every other key is a hyperparameter of what it names."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def hyper(self) -> dict[str, Any]:
        """The hyperparameters that were given."""
        return {name: _number(value) for name, value in (self.model_extra or {}).items()}


def bind_loss(choice: Choice) -> BoundLoss:
    """The loss that a recipe names, with its hyperparameters. Raises ValueError naming what is wrong."""
    return find(LOSSES, choice.name).bind(**choice.hyper)


def bind_label(choice: Choice) -> Callable[[Sequence[Pair]], Label]:
    """The label that a recipe names, with its hyperparameters. Raises ValueError naming what is wrong."""
    if choice.name not in LABELS:
        raise ValueError(
            f"there is no label '{choice.name}'.{near_miss(choice.name, LABELS)} Known: {', '.join(LABELS)}."
        )
    function = LABELS[choice.name]
    keywords = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for name in choice.hyper:
        if name not in [p.name for p in keywords]:
            takes = ", ".join(p.name for p in keywords) or "no settings"
            raise ValueError(f"the label '{choice.name}' takes {takes}; it has no '{name}'.")
    if missing := [p.name for p in keywords if p.default is p.empty and p.name not in choice.hyper]:
        raise ValueError(f"the label '{choice.name}' needs a value for {', '.join(missing)}.")
    return lambda pairs: function(pairs, **choice.hyper)


def merged(preset: Any, given: Any) -> Any:
    """A preset's choice with a recipe's over it. Another name drops the preset's hyperparameters: not its own."""
    preset = {"name": preset} if isinstance(preset, str) else dict(preset)
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping) or given.get("name", preset.get("name")) != preset.get("name"):
        return given
    return {**preset, **given}


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``5e3`` (no dot) as a text; everybody who writes it means the number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value

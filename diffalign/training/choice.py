"""A recipe's choices, bound to what they name; and a preset's choice under a recipe's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diffalign.choice import Choice, bind_name, bind_settings
from diffalign.data.records import Pair
from diffalign.labels import LABELS
from diffalign.labels.label import Label
from diffalign.losses import LOSSES
from diffalign.losses.catalogue import BoundLoss, find


def bind_loss(choice: Choice) -> BoundLoss:
    """The loss that a recipe names, with its hyperparameters. Raises ValueError naming what is wrong."""
    return find(LOSSES, choice.name).bind(**choice.hyper)


def bind_label(choice: Choice) -> Callable[[Sequence[Pair]], Label]:
    """The label that a recipe names, with its hyperparameters. Raises ValueError naming what is wrong."""
    function = LABELS[bind_name("label", choice.name, LABELS)]
    settings = bind_settings("label", choice.name, function, choice.hyper)
    return lambda pairs: function(pairs, **settings)


def merged(preset: Any, given: Any) -> Any:
    """A preset's choice with a recipe's over it. Another name drops the preset's hyperparameters: not its own."""
    preset = {"name": preset} if isinstance(preset, str) else dict(preset)
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping) or given.get("name", preset.get("name")) != preset.get("name"):
        return given
    return {**preset, **given}

"""A recipe's choices, bound to what they name; and a preset's choice under a recipe's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from diffalign.choice import Choice, bind_name, bind_settings
from diffalign.data.records import Pair
from diffalign.labels import LABELS
from diffalign.labels.label import Label
from diffalign.losses import LOSSES
from diffalign.losses.catalogue import BoundLoss, find
from diffalign.pairs import PAIRS, DatasetPairs, PairSource


def bind_loss(choice: Choice) -> BoundLoss:
    """The loss that a recipe names, with its hyperparameters. Raises ValueError naming what is wrong."""
    return find(LOSSES, choice.name).bind(**choice.hyper)


def bind_label(
    choice: Choice, ranges: Mapping[str, tuple[float, float]] | None = None
) -> Callable[[Sequence[Pair]], Label]:
    """The label that a recipe names, with its settings. Raises ValueError naming what is wrong.

    Args:
        choice: Name and settings.
        ranges: Smallest and largest score of the data by scorer, for labels that normalise rewards.
    """
    function = LABELS[bind_name("label", choice.name, LABELS)]
    settings = bind_settings("label", choice.name, function, choice.hyper, supplied=("ranges",))
    if "ranges" in inspect.signature(function).parameters:
        settings["ranges"] = ranges or {}
    function([], **settings)  # raises for a value that is out of range
    return lambda pairs: function(pairs, **settings)


def bind_pairs(choice: Choice) -> Callable[[DatasetPairs], PairSource]:
    """The pair source that a recipe names, with its settings. Raises ValueError naming what is wrong."""
    function = PAIRS[bind_name("source of pairs", choice.name, PAIRS)]
    settings = bind_settings("source of pairs", choice.name, function, choice.hyper)
    return lambda data: function(data, **settings)


def merged(preset: Any, given: Any) -> Any:
    """A preset's choice with a recipe's over it. Another name drops the preset's hyperparameters: not its own."""
    preset = {"name": preset} if isinstance(preset, str) else dict(preset)
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping) or given.get("name", preset.get("name")) != preset.get("name"):
        return given
    return {**preset, **given}

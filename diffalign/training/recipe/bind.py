"""Binds the choices of a recipe to functions, and merges a preset's choice with a recipe's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from diffalign.data.records.pair import Pair
from diffalign.errors import near_miss
from diffalign.labels import LABEL_ALIASES, LABELS
from diffalign.labels.label import Label
from diffalign.losses import LOSSES, Objective, Term
from diffalign.losses.registry import find
from diffalign.named_choice import Choice, bind_name, bind_settings, check_types
from diffalign.pairs import PAIRS, DatasetPairs, PairSource
from diffalign.printable import shown

PLUS, TIMES = "plus", "times"
"""Keys of a loss in a recipe that are not hyperparameters: the losses that are added to it, and its factor."""


def bind_loss(choice: Choice) -> Objective:
    """Returns the loss that a recipe names, or the sum of several, with their hyperparameters. Raises ValueError for an
    unknown name or a wrong value.
    """
    hyper = dict(choice.hyper)
    plus = hyper.pop(PLUS, ())
    if not isinstance(plus, (list, tuple)):
        plus = (plus,)
    return Objective((_term(choice.name, hyper), *(_term(c.name, c.hyper) for c in map(_as_term, plus))))


def _as_term(value: Any) -> Choice:
    if not (isinstance(value, str) or (isinstance(value, Mapping) and isinstance(value.get("name"), str))):
        raise ValueError(
            f"a term of a sum is the name of a loss, or {{name: NAME, SETTING: VALUE}}; got {shown(value)}"
        )
    return Choice.model_validate(value)


def _term(name: str, hyper: Mapping[str, Any]) -> Term:
    own = {key: value for key, value in hyper.items() if key != TIMES}
    return Term(find(LOSSES, name).bind(**own), hyper.get(TIMES, 1.0))


def as_choice(value: Any) -> Any:
    """Returns a recipe's loss in the form of one choice: of a list the first leads, the others are added to it."""
    if not isinstance(value, (list, tuple)):
        return value
    if not value:
        raise ValueError("loss is an empty list. Type for example: --set loss.name=logistic --set loss.beta=0.1")
    first, *others = value
    lead = _as_term(first)
    return {"name": lead.name, **(lead.model_extra or {}), **({PLUS: others} if others else {})}


def bind_label(
    choice: Choice, ranges: Mapping[str, tuple[float, float]] | None = None
) -> Callable[[Sequence[Pair]], Label]:
    """Returns the label that a recipe names, with its settings. Raises ValueError for an unknown name or a wrong value.

    Args:
        choice: Name and settings.
        ranges: Smallest and largest score of the data by scorer, for labels that normalise rewards.
    """
    name = bind_name("label", choice.name, LABELS, LABEL_ALIASES)
    function = LABELS[name]
    settings = bind_settings("label", name, function, choice.hyper, supplied=("ranges",))
    if "ranges" in inspect.signature(function).parameters:
        settings["ranges"] = ranges or {}
    try:
        function([], **settings)  # raises for a value that is out of range
    except TypeError:
        check_types("label", name, function, choice.hyper)
        raise
    return lambda pairs: function(pairs, **settings)


def bind_pairs(choice: Choice, candidates: type[BaseModel] | None = None) -> Callable[[DatasetPairs], PairSource]:
    """Returns the pair source that a recipe names, with its :func:`pair_settings`; errors as there."""
    settings = pair_settings(choice, candidates)
    return lambda data: PAIRS[choice.name](data, **settings)


def pair_settings(choice: Choice, candidates: type[BaseModel] | None = None) -> dict[str, Any]:
    """Returns all settings of the pair source that a recipe names. Raises ValueError for a wrong one.

    Args:
        choice: Name and settings.
        candidates: The settings with which the recipe's model makes candidates; a source that uses them has them too.
    """
    function = PAIRS[bind_name("source of pairs", choice.name, PAIRS)]
    parameters = inspect.signature(function).parameters.values()
    asks = candidates if any(p.kind is p.VAR_KEYWORD for p in parameters) else None
    further = {name: field.get_default() for name, field in asks.model_fields.items()} if asks else {}
    settings = bind_settings("source of pairs", choice.name, function, choice.hyper, also=further)
    settings = check_types("source of pairs", choice.name, function, settings)
    if asks is not None:
        settings |= _checked(asks, {name: settings[name] for name in further}, "pairs")
    return settings


def _checked(model: type[BaseModel], values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """Returns the values as the model reads them. Raises ValueError, worded for a recipe, for a wrong one."""
    try:
        return model.model_validate(values).model_dump()
    except ValidationError as error:
        detail = error.errors()[0]
    name, given = ".".join(map(str, detail["loc"])), detail["input"]
    if not name:
        raise ValueError(str(detail.get("ctx", {}).get("error", detail["msg"])))
    expected = detail["msg"].replace("Input should be", "must be")
    near = near_miss(given, str(detail.get("ctx", {}).get("expected", "")).split("'")) if isinstance(given, str) else ""
    default = model.model_fields[name].get_default()
    raise ValueError(
        f"{name} {expected}; got {given!r}.{near} For the usual value type: --set {section}.{name}={default}"
    )


def merged(preset: Any, given: Any) -> Any:
    """Returns a preset's choice with the recipe's values over it; another name drops the preset's hyperparameters."""
    preset = {"name": preset} if isinstance(preset, str) else dict(preset)
    given = {"name": given} if isinstance(given, str) else given
    if not isinstance(given, Mapping) or given.get("name", preset.get("name")) != preset.get("name"):
        return given
    return {**preset, **given}

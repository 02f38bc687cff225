"""A choice on one axis: a name and its settings, as a recipe writes it: ``hard`` or ``{name: robust, flip: 0.1}``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from diffalign.errors import near_miss
from diffalign.printable import shown


class Choice(BaseModel):
    """A name; every other key is a setting of what it names."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def hyper(self) -> dict[str, Any]:
        """Returns the settings that were given."""
        return {name: _number(value) for name, value in (self.model_extra or {}).items()}


def bind_settings(
    kind: str,
    name: str,
    function: Callable[..., Any],
    given: Mapping[str, Any],
    supplied: Collection[str] = (),
    also: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the settings of ``function``: its keyword-only parameters, with ``given`` values or their defaults.

    Args:
        kind: The axis, for messages: "label", "latents".
        name: The choice on it.
        function: Its keyword-only parameters are the settings.
        given: Settings by name.
        supplied: Keywords that the caller passes itself.
        also: Further settings that it takes as ``**keywords``, with their defaults.

    Raises:
        ValueError: A setting that it does not have, with the closest name, or one that is missing.
    """
    keywords = {
        p.name: p.default
        for p in inspect.signature(function).parameters.values()
        if p.kind is p.KEYWORD_ONLY and p.name not in supplied
    }
    keywords |= also or {}
    for key in given:
        if key not in keywords:
            takes = ", ".join(keywords) or "no settings"
            raise ValueError(f"the {kind} '{name}' takes {takes}; it has no '{key}'.{near_miss(key, keywords)}")
    settings = {**keywords, **given}
    if missing := [key for key, value in settings.items() if value is inspect.Parameter.empty]:
        raise ValueError(f"the {kind} '{name}' needs a value for {', '.join(missing)}.")
    return settings


def bind_name(kind: str, name: str, known: Collection[str], aliases: Mapping[str, str] = MappingProxyType({})) -> str:
    """Returns the name in a table that ``name`` or an alias stands for.

    Args:
        kind: What is chosen, for messages: "label", "latents".
        name: As a recipe writes it.
        known: Names of the table.
        aliases: ``{alias: name of the table}``.

    Raises:
        ValueError: An unknown name, with the nearest one.
    """
    if name in known:
        return name
    if name not in aliases:
        near = near_miss(name, [*known, *aliases])
        raise ValueError(f"there is no {kind} '{name}'.{near} Known: {', '.join(known)}.")
    return aliases[name]


def check_types(kind: str, name: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with whole numbers where they are meant: 5e3 steps are 5000.

    Args:
        kind, name: The axis and the choice on it, for messages.
        function: The annotations of its parameters are the types.
        settings: Values by name; those that are no parameter of it stay as they are.

    Raises:
        ValueError: A value of another type.
    """
    parameters = inspect.signature(function, eval_str=True).parameters
    return {
        key: _checked(f"{key} of the {kind} '{name}'", parameters[key].annotation, value)
        if key in parameters
        else value
        for key, value in settings.items()
    }


def _checked(what: str, annotation: Any, value: Any) -> Any:
    try:
        read = TypeAdapter(annotation, config={"allow_inf_nan": False}).validate_python(value)
        if isinstance(value, bool) is not isinstance(read, bool):
            raise ValueError("should be true or false" if isinstance(read, bool) else "should be a number")
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Input ")
    except ValueError as error:
        problem = str(error)
    else:
        return read if isinstance(read, int) and isinstance(value, float) else value
    raise ValueError(f"{what} {problem}; got {shown(value)}.")


def _number(value: Any) -> Any:
    """Returns a number for a text such as ``5e3``, which YAML 1.1 does not read as a number without a dot."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value

"""A choice on one axis: a name and its settings, as a recipe writes it: ``hard`` or ``{name: robust, flip: 0.1}``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator

from diffalign.errors import near_miss


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


def _number(value: Any) -> Any:
    """Returns a number for a text such as ``5e3``, which YAML 1.1 does not read as a number without a dot."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value

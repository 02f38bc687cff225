"""Models and settings as the command line names them: KEY=VALUE, read as YAML and checked by what they configure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffalign.errors import ConfigError, near_miss

if TYPE_CHECKING:
    from pydantic import BaseModel

    from diffalign.policies.policy import Policy
    from diffalign.training.recipe.model_kinds import ModelKind


def parse(given: Sequence[str], option: str) -> dict[str, Any]:
    """``["steps=30"]`` as ``{"steps": 30}``. Raises ConfigError for what is no KEY=VALUE."""
    import yaml

    values = {}
    for text in given:
        key, equals, value = text.partition("=")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals or not key.strip():
            raise ConfigError(f"{option} {text} is not KEY=VALUE. What follows = is read as YAML.")
    return values


def checked(model: type[BaseModel], values: Mapping[str, Any], option: str) -> BaseModel:
    """The values as the model reads them. Raises ConfigError for unknown names, with near misses, and wrong values."""
    from pydantic import ValidationError

    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_line(detail, model, option) for detail in error.errors()]
        raise ConfigError("; ".join(lines)) from None


def _line(detail: Mapping[str, Any], model: type[BaseModel], option: str) -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        known = list(model.model_fields)
        near = near_miss(name, known)
        better = (
            f" Type: {option} {near.split(chr(39))[1]}={detail['input']}" if near else f" Known: {', '.join(known)}."
        )
        return f"{option} {name}: there is no such setting.{near}{better}"
    message = str(detail.get("ctx", {}).get("error", detail["msg"]))
    return f"{option} {name}: {message}; got {detail['input']!r}" if name else message


@dataclass(frozen=True)
class Model:
    """A model as the command line names it, not opened yet.

    Args:
        row: Its kind.
        config: What its policy is built from.
        adapter: A shared adapter that goes on it; empty: none.
    """

    row: ModelKind
    config: BaseModel
    adapter: str = ""

    @classmethod
    def named(cls, path: str, kind: str, given: Sequence[str], adapter: str = "") -> Model:
        """The model at ``path``; ``kind`` empty: what its folder looks like; ``given`` are its further settings."""
        from diffalign.training.recipe.model_kinds import MODELS, kind_named

        row = MODELS[kind_named({"path": path, **({"kind": kind} if kind else {})})]
        values = {**parse(given, "--model-setting"), "path": path}
        return cls(row, checked(row.config(), values, "--model-setting"), adapter)

    def sampling(self, given: Sequence[str], **shorthands: Any) -> dict[str, Any]:
        """Every sampling setting of its kind: those given, and the shorthands that are not None, over the defaults."""
        values = {name: value for name, value in shorthands.items() if value is not None}
        return checked(self.row.sampling(), {**values, **parse(given, "--setting")}, "--setting").model_dump()

    def open(self) -> Policy:
        """Loads it."""
        return self.row.aligned(self.config, Path(self.adapter)) if self.adapter else self.row.open(self.config)

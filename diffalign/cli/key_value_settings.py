"""Models and settings from the command line: KEY=VALUE options, read as YAML and validated by their config model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffalign.errors import ConfigError, UserError, near_miss
from diffalign.printable import shown, typed

if TYPE_CHECKING:
    from pydantic import BaseModel

    from diffalign.policies.policy import Policy
    from diffalign.training.recipe.model_kinds import ModelKind


def parse(texts: Sequence[str], option: str) -> dict[str, Any]:
    """Parses ``["steps=30", "adapter.rank=4"]`` to nested values. Raises ConfigError for others."""
    from diffalign.training.recipe.override import override

    values: dict[str, Any] = {}
    for text in texts:
        values = override(values, text, option, "steps=30")
    return values


def validate(model: type[BaseModel], values: Mapping[str, Any], option: str) -> BaseModel:
    """Validates values by a pydantic model. Raises ConfigError for wrong values and unknown names, with near misses."""
    from pydantic import ValidationError

    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [_error_line(detail, model, option) for detail in error.errors()]
        raise ConfigError("; ".join(lines)) from None


def _error_line(detail: Mapping[str, Any], model: type[BaseModel], option: str) -> str:
    name = ".".join(map(str, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        fields = list(model.model_fields)
        near = near_miss(name, fields)
        hint = (
            f" Type: {typed(option, near.split(chr(39))[1], detail['input'])}"
            if near
            else f" Known: {', '.join(fields)}."
        )
        return f"{option} {name}: there is no such setting.{near}{hint}"
    message = str(detail.get("ctx", {}).get("error", detail["msg"])).replace("Input should be", "must be")
    return f"{option} {name}: {message}; got {shown(detail['input'])}" if name else message


@dataclass(frozen=True)
class Model:
    """A model from the command line, not loaded yet.

    Args:
        kind: Its kind.
        config: Config of its policy.
        adapter: Path of an adapter to load; empty for none.
    """

    kind: ModelKind
    config: BaseModel
    adapter: str = ""

    @classmethod
    def from_options(cls, path: str, kind: str, settings: Sequence[str], adapter: str = "") -> Model:
        """Returns the model at ``path``; ``settings`` are KEY=VALUE. An empty ``kind`` is detected from the folder, and
        from a motion adapter among the settings.
        """
        from diffalign.training.recipe.model_kinds import MODELS, kind_named

        values = {**parse(settings, "--model-setting"), "path": path}
        row = MODELS[kind_named({**values, **({"kind": kind} if kind else {})})]
        return cls(row, validate(row.config(), values, "--model-setting"), adapter)

    @classmethod
    def language(cls, path: str, settings: Sequence[str], adapter: str = "") -> Model:
        """Returns the language model at ``path``, a folder or Hub id. Raises UserError for a folder of another kind."""
        from diffalign.training.recipe.model_kinds import kind_named

        if Path(path).expanduser().is_dir() and kind_named({"path": path}) != "text":
            raise UserError(
                f"'{path}' holds a model of images or clips, and this command needs a language model. For images use "
                "`diffalign data separability` or `diffalign data difficulty`."
            )
        return cls.from_options(path, "text", settings, adapter)

    def sampling(self, settings: Sequence[str], **shorthands: Any) -> dict[str, Any]:
        """Returns all sampling settings of its kind: ``settings`` over shorthands that are not None over defaults."""
        values = {name: value for name, value in shorthands.items() if value is not None}
        return validate(self.kind.sampling(), {**values, **parse(settings, "--setting")}, "--setting").model_dump()

    def open(self) -> Policy:
        """Loads the model, with its adapter."""
        return self.kind.aligned(self.config, Path(self.adapter)) if self.adapter else self.kind.open(self.config)

"""Reads a recipe: YAML, replaced values, and one message for all of its errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from diffalign.errors import ConfigError, near_miss
from diffalign.training.recipe.model_kinds import MODELS, kind_named
from diffalign.training.recipe.schema import Recipe, Sampled

__all__ = ["Recipe", "load_recipe", "make_recipe"]


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads a recipe from a YAML file.

    Args:
        path: The file.
        overrides: ``"train.steps=100"``, each replacing one value; the right side is read as YAML.

    Raises:
        ConfigError: Names every missing value, every unknown key with its near miss, and every value out of range.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"there is no recipe '{path}'. Give a YAML file; configs/ contains some to start from.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} contains {type(values).__name__}, but a recipe is a table of sections: model, data, ..."
        )
    for override in overrides:
        _replace(values, override)
    return make_recipe(values, name=str(path))


def make_recipe(values: Mapping[str, Any], name: str = "the recipe") -> Recipe:
    """Builds a recipe from nested values, as a YAML file would hold them; errors as in :func:`load_recipe`."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, values, name)) from None


def _replace(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"--set {override} is not KEY=VALUE. Type for example: --set train.steps=100")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(
            f"--set {override}: '{text}' is not YAML. Put quotes around a text with special characters."
        ) from None
    for step in keys[:-1]:
        inner = values.get(step)
        # A choice in its short form, `loss: robust`, is the same as `loss: {name: robust}`.
        values[step] = {"name": inner} if isinstance(inner, str) else dict(inner or {})
        values = values[step]
    values[keys[-1]] = value


def _names_at(values: Mapping[str, Any], loc: Sequence[Any]) -> Sequence[str]:
    """Returns the names of the section at ``loc``; those of models and of sampling depend on the model's kind."""
    model: Any = Recipe
    if loc[:1] == ("model",):
        model, loc = MODELS[kind_named(values["model"])].config(), loc[1:]
    for step in loc:
        annotation = model.model_fields[step].annotation if step in model.model_fields else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
        if model is None:
            return ()
    sampling = MODELS[kind_named(values["model"])].sampling().model_fields if issubclass(model, Sampled) else ()
    return [*model.model_fields, *sampling]


def _other_kind(values: Mapping[str, Any], loc: Sequence[Any]) -> str:
    """Returns advice where a model or sampling setting exists for another kind of model."""
    kinds = [name for name, kind in MODELS.items() if name != kind_named(values["model"])]
    section = {"model": "config", "previews": "sampling", "evaluate": "sampling"}.get(str(loc[0]))
    has = [name for name in kinds if section and loc[1] in getattr(MODELS[name], section)().model_fields]
    return f" It is a setting of model.kind '{has[0]}'; for such a model type: --set model.kind={has[0]}" if has else ""


def _explain(error: ValidationError, values: Mapping[str, Any], name: str) -> str:
    details = error.errors()
    missing = [".".join(map(str, d["loc"])) for d in details if d["type"] == "missing"]
    lines = []
    if missing:
        typed = " ".join(f"--set {key}=VALUE" for key in missing)
        lines.append(f"these values are missing: {', '.join(missing)}. Write them into the recipe, or type: {typed}")
    for detail in details:
        key = ".".join(map(str, detail["loc"]))
        if detail["type"] == "extra_forbidden":
            names = _names_at(values, detail["loc"][:-1])
            *parents, last = key.split(".")
            guess = near_miss(last, names)
            better = ".".join([*parents, guess.split("'")[1]]) if guess else ""
            other = "" if guess or len(detail["loc"]) != 2 else _other_kind(values, detail["loc"])
            advice = f" Type: --set {better}={detail['input']}" if guess else f" Known here: {', '.join(names)}.{other}"
            lines.append(f"{key} is not a setting.{guess}{advice}")
        elif detail["type"] != "missing":
            message = str(detail.get("ctx", {}).get("error", detail["msg"]))
            given = "" if detail["type"] == "value_error" else f"; got {detail['input']!r}"
            lines.append(f"{key}: {message}{given}")
    head = f"{name} cannot be followed"
    return f"{head}: {lines[0]}" if len(lines) == 1 else "\n  - ".join([f"{head}:", *lines])

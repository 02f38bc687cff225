"""Words the errors of a recipe: every missing value, every unknown key with its near miss, every wrong value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from diffalign.errors import ConfigError, near_miss
from diffalign.named_choice import Choice
from diffalign.printable import one_line, shown, typed
from diffalign.training.recipe.model_kinds import MODELS, kind_named
from diffalign.training.recipe.schema import Recipe, Sampled

MOST_LINES = 8
"""Errors that are listed; there may be more."""


def explain(error: ValidationError, values: Mapping[str, Any], name: str) -> str:
    """Returns the message for all errors of a recipe.

    Args:
        error: What pydantic found.
        values: The values of the recipe.
        name: Its name, such as that of its file.
    """
    details = error.errors()
    missing = [_key(d["loc"]) for d in details if d["type"] == "missing" and isinstance(d["loc"][-1], str)]
    lines = []
    if missing:
        typed = " ".join(f"--set {key}=VALUE" for key in missing)
        lines.append(f"these values are missing: {', '.join(missing)}. Write them into the recipe, or type: {typed}")
    lines += [_line(d, values) for d in details if d["type"] != "missing" or not isinstance(d["loc"][-1], str)]
    if len(lines) > MOST_LINES:
        lines[MOST_LINES - 1 :] = [f"and {len(lines) - MOST_LINES + 1} more"]
    head = f"{name} cannot be followed"
    return f"{head}: {lines[0]}" if len(lines) == 1 else "\n  - ".join([f"{head}:", *lines])


def _line(detail: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    loc, key = detail["loc"], _key(detail["loc"])
    if detail["type"] == "extra_forbidden":
        return _unknown(loc, detail["input"], values)
    if detail["type"] in ("model_type", "mapping_type", "dict_type"):
        return _no_section(loc, detail["input"], values)
    if detail["type"] == "missing":  # of a list of fixed length
        return f"{_key(loc[:-1])} has too few values; got {shown(detail['input'])}"
    if detail["type"] == "tuple_type":
        return f"{key} is a list, which has brackets; got {shown(detail['input'])}. Type: {setting(key, '[VALUE]')}"
    message = str(detail.get("ctx", {}).get("error", detail["msg"])).replace("Input should be", "must be")
    given = "" if detail["type"] == "value_error" else f"; got {shown(detail['input'])}"
    return ": ".join(filter(None, (key, f"{message}{given}")))


def _unknown(loc: Sequence[Any], given: Any, values: Mapping[str, Any]) -> str:
    names = _names_at(values, loc[:-1])
    other = _other_kind(values, loc) if len(loc) == 2 else ""
    guess = "" if other else near_miss(str(loc[-1]), names)
    if not guess:
        known = f" Known here: {', '.join(names)}." if names else ""
        return f"{_key(loc)} is not a setting.{known}{other}"
    better = _key([*loc[:-1], guess.split("'")[1]])
    if isinstance(given, Mapping):
        inner = next(iter(given.items()), None)
        typed = f"Type: {setting(f'{better}.{inner[0]}', inner[1])}" if inner and len(given) == 1 else "Rename it."
        return f"{_key(loc)} is not a setting.{guess} {typed}"
    return f"{_key(loc)} is not a setting.{guess} Type: {setting(better, given)}"


def _no_section(loc: Sequence[Any], given: Any, values: Mapping[str, Any]) -> str:
    """Explains a value in the place of a section or a choice."""
    model = _model_at(values, loc)
    if model is None or not model.model_fields:
        return f"{_key(loc)} is a table of names and values; got {shown(given)}"
    if issubclass(model, Choice):
        return f"{_key(loc)} is a name, or {{name: NAME, SETTING: VALUE}}; got {shown(given)}"
    first = next((f for f, field in model.model_fields.items() if field.is_required()), next(iter(model.model_fields)))
    typed = setting(_key([*loc, first]), given if isinstance(given, str) and first == "path" else "VALUE")
    return f"{_key(loc)} is a section with settings of its own; got {shown(given)}. Type for example: {typed}"


def setting(key: str, value: Any) -> str:
    """Returns what to type for a value of the recipe: ``--set train.steps=3``."""
    return typed("--set", key, value)


def _key(loc: Sequence[Any]) -> str:
    return ".".join(one_line(str(step), 60) or "''" for step in loc)


def _kind(values: Mapping[str, Any]) -> str:
    """Returns the kind of the recipe's model; the usual one where the recipe does not show it."""
    section = values.get("model")
    try:
        return kind_named(section if isinstance(section, Mapping) else {})
    except ConfigError:
        return kind_named({})


def _model_at(values: Mapping[str, Any], loc: Sequence[Any]) -> type[BaseModel] | None:
    """Returns the pydantic model of the section at ``loc``; that of a model depends on its kind."""
    model: type[BaseModel] | None = Recipe
    if loc[:1] == ("model",):
        model, loc = MODELS[_kind(values)].config(), loc[1:]
    for step in loc:
        field = model.model_fields.get(step) if model is not None else None
        annotation = field.annotation if field else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
    return model


def _names_at(values: Mapping[str, Any], loc: Sequence[Any]) -> Sequence[str]:
    """Returns the names of the section at ``loc``; those of models and of sampling depend on the model's kind."""
    model = _model_at(values, loc)
    if model is None:
        return ()
    sampling = MODELS[_kind(values)].sampling().model_fields if issubclass(model, Sampled) else ()
    return [*model.model_fields, *sampling]


def _other_kind(values: Mapping[str, Any], loc: Sequence[Any]) -> str:
    """Returns advice where a model or sampling setting exists for another kind of model."""
    kinds = [name for name in MODELS if name != _kind(values)]
    section = {"model": "config", "previews": "sampling", "evaluate": "sampling"}.get(str(loc[0]))
    has = [name for name in kinds if section and loc[1] in getattr(MODELS[name], section)().model_fields]
    if not has:
        return ""
    section = values.get("model")
    if isinstance(section, Mapping) and "kind" in section:
        return f" It is a setting of model.kind '{has[0]}', and this model is of kind '{section['kind']}'."
    return f" It is a setting of model.kind '{has[0]}'; for such a model type: --set model.kind={has[0]}"

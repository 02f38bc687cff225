"""Reads a recipe: YAML, replaced values, and one message for all of its errors."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from diffalign.errors import ConfigError
from diffalign.files.text_files import read_text_file
from diffalign.files.yaml_text import DEEPEST, read_yaml
from diffalign.printable import shown
from diffalign.training.recipe.explain import explain
from diffalign.training.recipe.override import override
from diffalign.training.recipe.schema import Recipe

__all__ = ["Recipe", "as_recipe", "load_recipe", "make_recipe"]


def load_recipe(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Reads a recipe from a YAML file.

    Args:
        path: The file.
        overrides: ``"train.steps=100"``, each replacing one value; the right side is read as YAML.

    Raises:
        ConfigError: Names every missing value, every unknown key with its near miss, and every value out of range.
    """
    if not os.path.exists(path):
        raise ConfigError(f"there is no recipe '{path}'. Give a YAML file; configs/ contains some to start from.")
    values = read_yaml(read_text_file(path, "recipe"), str(path))
    for text in overrides if isinstance(values, dict) else ():
        values = override(values, text)
    return make_recipe(values, name=str(path))


def as_recipe(given: Recipe | str | Path | Mapping[str, Any]) -> Recipe:
    """Returns a recipe as it is, read from a file, or built from nested values; errors as in :func:`load_recipe`."""
    if isinstance(given, Recipe):
        return given
    return load_recipe(given) if isinstance(given, (str, Path)) else make_recipe(given)


def make_recipe(values: Mapping[str, Any], name: str = "the recipe") -> Recipe:
    """Builds a recipe from nested values, as a YAML file would hold them; errors as in :func:`load_recipe`."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name} contains {_kind(values)}, but a recipe is a table of sections: model, data, ...")
    if odd := [key for key in values if not isinstance(key, str)]:
        raise ConfigError(f"{name} cannot be followed: the key {shown(odd[0])} is not a text.")
    _check_texts(values, name)
    values = _with_plain_paths(values)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, values, name)) from None


def _check_texts(value: Any, name: str, depth: int = 0) -> None:
    """Raises ConfigError for half a surrogate pair, which cannot be written anywhere, and for values in themselves."""
    if depth > DEEPEST:
        raise ConfigError(f"{name} cannot be followed: it is nested more than {DEEPEST} deep.")
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        raise ConfigError(f"{name} cannot be followed: {shown(value)} contains half a surrogate pair.")
    for item in (*value, *value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        _check_texts(item, name, depth + 1)


def _with_plain_paths(value: Any) -> Any:
    """Returns nested values with paths of Python as the texts that a recipe holds."""
    if isinstance(value, Mapping):
        return {key: _with_plain_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_plain_paths(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _kind(value: Any) -> str:
    names = {"NoneType": "nothing", "list": "a list", "str": "one text"}
    return names.get(type(value).__name__, f"one {type(value).__name__}")

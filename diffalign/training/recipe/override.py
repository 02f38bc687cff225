"""Replaces single values of nested ones, as ``--set train.steps=100`` says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffalign.errors import ConfigError
from diffalign.files.yaml_text import read_yaml
from diffalign.printable import shown
from diffalign.training.recipe.apply_preset import AXES

DEEPEST = 20
"""Parts of a key."""


def override(values: Mapping[str, Any], text: str, option: str = "--set", example: str = "train.steps=100") -> Any:
    """Returns the values with one replaced; sections on the way to it are copied, or made where there are none.

    Args:
        values: Nested values, as a recipe holds them.
        text: ``"train.steps=100"``; the right side is read as YAML.
        option: The option that it was given with, for messages.
        example: A text that works, for messages.

    Raises:
        ConfigError: No KEY=VALUE, a value that is not YAML, or a key that leads through a value without parts.
    """
    key, equals, value = text.partition("=")
    keys = key.strip().split(".")
    if not equals or not all(keys) or len(keys) > DEEPEST:
        raise ConfigError(f"{option} {shown(text)[1:-1]} is not KEY=VALUE. Type for example: {option} {example}")
    return _replaced(values, keys, read_yaml(value, f"the value of {option} {key.strip()}"), keys, option)


def _replaced(values: Any, keys: list[str], value: Any, path: list[str], option: str) -> Any:
    if not keys:
        return value
    parents = path[: len(path) - len(keys)]
    if isinstance(values, str) and parents[-1] in AXES:
        values = {"name": values}  # a choice in its short form, `loss: robust`, is the same as `loss: {name: robust}`
    if values is not None and not isinstance(values, Mapping):
        whole = ".".join(parents)
        raise ConfigError(
            f"{option} {'.'.join(path)}: {whole} is {shown(values)}, which has no part '{keys[0]}'. Give the whole "
            f"value: {option} {whole}=VALUE"
        )
    inner = (values or {}).get(keys[0])
    return {**(values or {}), keys[0]: _replaced(inner, keys[1:], value, path, option)}

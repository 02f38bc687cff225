"""Changes single values in the text of a YAML file; comments, order and everything else stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from diffalign.errors import ConfigError
from diffalign.files.yaml_text import read_yaml


def with_values(text: str, values: Mapping[str, object], name: str) -> str:
    """Returns a YAML text with values set by their paths, ``{"train.steps": 10}``.

    Args:
        text: A mapping of mappings.
        values: Numbers, words, booleans or None by path.
        name: Of the file, for messages.

    Raises:
        ConfigError: The text writes the place of a value in a way that cannot be changed by itself, as an alias.
    """
    for path, value in values.items():
        changed = _with_value(text, path.split("."), "null" if value is None else yaml.safe_dump(value).split("\n")[0])
        before, after = read_yaml(text, name), read_yaml(changed, name)
        before = _unshared(before)
        _set(before, path.split("."), value)
        if before != after:
            raise ConfigError(
                f"{name} writes {path} in a way that cannot be changed by itself. Set it by hand: {value}"
            )
        text = changed
    return text


def _with_value(text: str, keys: list[str], value: str) -> str:
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, key in enumerate(keys):
        if not isinstance(node, yaml.MappingNode):  # a section that is a single value: `adapter: null`
            return _replaced(text, node, "{" + _nested(keys[depth:], value) + "}") if node is not None else text
        found = next((child for name, child in node.value if name.value == key), None)
        if found is None:
            return _inserted(text, node, _nested(keys[depth:], value))
        node = found
    return _replaced(text, node, value)


def _replaced(text: str, node: Any, value: str) -> str:
    return text[: node.start_mark.index] + value + text[node.end_mark.index :]


def _inserted(text: str, node: Any, entry: str) -> str:
    start = node.start_mark.index
    if node.flow_style:
        return text[: start + 1] + entry + (", " if node.value else "") + text[start + 1 :]
    return text[:start] + entry + "\n" + " " * node.start_mark.column + text[start:]


def _nested(keys: list[str], value: str) -> str:
    """Returns ``a: {b: value}`` of the keys a and b."""
    first, *rest = keys
    return f"{first}: " + ("{" + _nested(rest, value) + "}" if rest else value)


def _unshared(values: Any) -> Any:
    """Returns nested mappings as copies, each value one of its own: an alias shares them."""
    return {key: _unshared(value) for key, value in values.items()} if isinstance(values, dict) else values


def _set(values: Any, keys: list[str], value: object) -> None:
    for key in keys[:-1]:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    values[keys[-1]] = value

"""Mutations of what a YAML or JSON file says: a value of another type, deep, huge, missing, twice."""

import copy
import json
import math
import random
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

PLAIN = (
    *(None, True, False, 0, -1, 1, 0.5, 2**63, -(2**70), 10**400, 1e308, math.nan, math.inf, -math.inf),
    *("", " ", "x", "no", "1", "-1", "1e3", "nan", "a/b", "../..", "~", "@", "@missing.txt", "{", "\x1b[2J", "\u2028"),
    *("\ud800", "ä", "x" * 100_000, "%s", "*", "/", "/dev/null", "/dev/zero", "file://x", "https://x.invalid/?a=b"),
    *([], {}, [None], [[]], [{}], ["x", 1], {"name": "x"}, {"name": None}, {"": ""}, {"x": {"y": {"z": 1}}}),
)
"""What is put in the place of a value."""


def mutated_values(value: Any, count: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Yields ``count`` copies of a nested value with one or two faults, and what was changed."""
    draw = random.Random(seed)
    for number in range(count):
        result: Any = copy.deepcopy(value)
        names = []
        for _ in range(draw.choice((1, 1, 1, 2))):
            result, name = _with_fault(result, draw)
            names.append(name)
        yield f"{', '.join(names)} ({number})", result


def mutated_json(value: Any, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields JSON files that say a mutated value, among them duplicate keys and nesting of 100,000 brackets."""
    for number, (name, changed) in enumerate(mutated_values(value, count, seed)):
        text = json.dumps(changed)
        if number % 10 == 8:
            name, text = f"nested 100,000 deep ({number})", _inside(text, "[" * 100_000 + "]" * 100_000)
        if number % 10 == 9:
            name, text = f"keys twice ({number})", text[:-1] + ", " + text[1:] if text[:1] == "{" else text
        yield name, text.encode("utf-8", "surrogatepass")


def mutated_yaml(value: Any, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yields YAML files that say a mutated value, some with duplicate keys, alias bombs, loops, tags, deep nesting."""
    draw = random.Random(seed)
    for number, (name, changed) in enumerate(mutated_values(value, count, seed)):
        text = yaml.safe_dump(changed, allow_unicode=True) if _can_be_yaml(changed) else json.dumps(changed)
        if number % 10 >= 8 and isinstance(changed, Mapping) and changed:
            key = draw.choice([str(key) for key in changed])
            name = draw.choice(list(YAML_TEXTS))
            text, name = f"{text}\n{json.dumps(key)}: {YAML_TEXTS[name]}\n", f"{name} at {key[:40]} ({number})"
        yield name, text.encode("utf-8", "surrogatepass")


def alias_bomb(levels: int, width: int = 9) -> str:
    """Returns a flow sequence of a few hundred characters that says ``width ** levels`` values."""
    inner = "&a0 [x, x]"
    for level in range(1, levels):
        inner = f"&a{level} [{inner}, {', '.join([f'*a{level - 1}'] * (width - 1))}]"
    return inner


YAML_TEXTS = {
    "the key twice": "1",
    "an alias bomb": alias_bomb(12),
    "a small alias bomb": alias_bomb(4),
    "a loop": "&a [*a]",
    "a loop of mappings": "&a {x: *a}",
    "an unknown alias": "*missing",
    "a tag of Python": "!!python/object/apply:os.getcwd []",
    "an unknown tag": "!x 1",
    "a binary value": "!!binary aGVsbG8=",
    "a set": "!!set {a, b}",
    "a date": "2020-01-01",
    "a date out of range": "2020-99-99",
    "a number in base 60": "190:20:30",
    "nested 2,000 deep": "[" * 2_000 + "]" * 2_000,
    "mappings nested 2,000 deep": "{x: " * 2_000 + "1" + "}" * 2_000,
    "a list as a key": "{[a]: 1}",
    "a mapping as a key": "{{a: 1}: 1}",
    "a merge of a list": "{<<: [1], a: 1}",
    "a number as a key": "{1: 1, null: 2, true: 3}",
}
"""Values that only YAML can say, by name."""


def _can_be_yaml(value: Any) -> bool:
    try:
        yaml.safe_dump(value, allow_unicode=True).encode()
    except (UnicodeError, yaml.YAMLError):
        return False
    return True


def _with_fault(value: Any, draw: random.Random) -> tuple[Any, str]:
    """Returns the value with one entry changed. The entry is drawn level by level, so that shallow ones occur too."""
    if not isinstance(value, (dict, list)) or not value or draw.random() < 0.05:
        return _changed(value, draw)
    key = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
    action = draw.choice(("descend", "descend", "replace", "replace", "remove", "rename", "add"))
    if action == "descend":
        value[key], name = _with_fault(value[key], draw)
        return value, f"{key}.{name}"
    if action == "replace":
        value[key], name = _changed(value[key], draw)
        return value, f"{key}: {name}"
    if action == "remove":
        del value[key]
        return value, f"{key} removed"
    return _added(value, key, action, draw), f"{key}: {action}"


def _added(value: Any, key: Any, action: str, draw: random.Random) -> Any:
    new = draw.choice((f"{str(key)[:-1]}", f"{key}s", "", "x", "name", "\x1b[31mred", "x" * 10_000, "kind", "path"))
    content = value[key]
    if isinstance(value, list):
        value.insert(draw.randrange(len(value) + 1), draw.choice((content, draw.choice(PLAIN))))
    elif action == "rename":
        value[new] = value.pop(key)
    else:
        value[new] = draw.choice((content, draw.choice(PLAIN)))
    return value


def _changed(value: Any, draw: random.Random) -> tuple[Any, str]:
    """Returns another value: one of ``PLAIN``, or the value in a form that is near to it."""
    near = [[value], {"name": value}, str(value), _deep(value, 300), [value] * 2_000]
    if isinstance(value, float) or type(value) is int and abs(value) < 2**1000:  # larger ones are no floats
        near += [-value, float(value), value * 1_000_000, value + 0.5]
    if isinstance(value, str):
        near += [
            value.upper(),
            value[:-1],
            value + " ",
            value + "/x",
            list(value),
            f"some/{value}",
            value[::-1],
        ]
    new = draw.choice((draw.choice(near), draw.choice(PLAIN)))
    return new, f"{type(value).__name__} becomes {repr(new)[:40]}"


def _deep(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


def _inside(text: str, value: str) -> str:
    return f'{text[:-1]}, "x": {value}}}' if text[:1] == "{" and len(text) > 2 else value

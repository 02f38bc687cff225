"""Files that compose scorers: a small mapping in YAML or JSON, read with one message for everything that is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from diffalign.errors import ConfigError, near_miss
from diffalign.files.json_lines import parse_json
from diffalign.files.text_files import read_text_file
from diffalign.files.yaml_text import read_yaml
from diffalign.printable import shown

_OPEN: ContextVar[tuple[Path, ...]] = ContextVar("open_compositions", default=())


def read_composition(path: str, kind: str, example: str) -> dict[str, Any]:
    """Returns the mapping of a file.

    Args:
        path: A ``.json`` file, or one in YAML.
        kind: The scorer that reads it: "ensemble".
        example: What to type, for a message.

    Raises:
        ConfigError: There is no such file, or it holds no mapping.
    """
    if not path:
        raise ConfigError(f"{kind} needs a file that names its scorers: write {example}")
    text = read_text_file(path, f"file of {kind}")
    if Path(path).suffix.lower() == ".json":
        try:
            content = parse_json(text)
        except ValueError as error:
            raise ConfigError(f"{path} is not JSON: {error}.") from None
    else:
        content = read_yaml(text, path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {shown(str(content))}; expected the keys of {kind}, see docs/scorers.md.")
    return content


@contextmanager
def opening(path: str) -> Iterator[None]:
    """Marks a file as being read, so that one that names itself, by whatever path, is refused instead of read for ever.

    Raises:
        ConfigError: The file is being read already.
    """
    whole = Path(path).resolve()
    if whole in _OPEN.get():
        raise ConfigError(f"{path} names itself among its scorers. Name scorers that can be computed first.")
    token = _OPEN.set((*_OPEN.get(), whole))
    try:
        yield
    finally:
        _OPEN.reset(token)


def check_keys(entry: Any, place: str, required: Sequence[str], optional: Sequence[str]) -> Mapping[str, Any]:
    """Returns a mapping that has these keys and no other. Raises ConfigError for anything else."""
    keys = [*required, *optional]
    if not isinstance(entry, dict):
        raise ConfigError(f"{place} is {shown(str(entry))}; expected a mapping with {', '.join(required)}.")
    unknown = [str(key) for key in entry if key not in keys]
    missing = [key for key in required if key not in entry]
    if unknown:
        raise ConfigError(f"{place} has no key '{unknown[0]}'.{near_miss(unknown[0], keys)} Keys: {', '.join(keys)}.")
    if missing:
        raise ConfigError(f"{place} lacks {' and '.join(missing)}. Keys: {', '.join(keys)}.")
    return entry


def number(entry: Mapping[str, Any], key: str, place: str, default: float, *, above: float = -math.inf) -> float:
    """Returns a finite number above a bound. Raises ConfigError for anything else."""
    value = entry.get(key, default)
    if isinstance(value, str):  # YAML 1.1 takes 1e-3 for a text
        with suppress(ValueError):
            value = float(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value <= above:
        bound = f" above {above:g}" if math.isfinite(above) else ""
        raise ConfigError(f"{place}: {key} is a finite number{bound}; got {shown(str(value))}.")
    return float(value)


def spec(entry: Mapping[str, Any], key: str, place: str) -> str:
    """Returns the name of a scorer. Raises ConfigError for anything but a text."""
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{place}: {key} is a scorer, NAME or NAME:ARGUMENT; got {shown(str(value))}.")
    return value


def entries(content: Mapping[str, Any], key: str, path: str) -> list[Any]:
    """Returns a list of one entry or more. Raises ConfigError for anything else."""
    value = content[key]
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{path}: {key} is a list of one entry or more; got {shown(str(value))}.")
    return value

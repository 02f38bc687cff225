"""Reads the files of shared models with bounded size and depth: JSON objects and safetensors.

Whatever a file holds, the error is one sentence that names it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from diffalign.errors import ConfigError

LARGEST_JSON = 64 * 2**20
"""Bytes of a JSON file that are read. Settings have a few thousand, an index of shards a few million."""


def read_object(path: Path) -> dict[str, Any]:
    """Returns the JSON object of a file. Raises ConfigError where there is none."""
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= LARGEST_JSON else ""
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON ({_reason(error)}). Copy the folder again.") from error
    if size > LARGEST_JSON:
        raise ConfigError(f"{path} has {size:,} bytes, too many for settings. Copy the folder again.")
    return parse_object(text, str(path))


def parse_object(text: str, what: str) -> dict[str, Any]:
    """Returns the JSON object that a text says. Raises ConfigError, which begins with ``what``, where it says none."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{what} cannot be read as JSON ({_reason(error)}). Copy it again.") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{what} must hold an object, got {type(values).__name__}. Copy it again.")
    return values


def read_tensors(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns the tensors and the metadata of a safetensors file. Raises ConfigError where it cannot be read as one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 (not a dict)
            return tensors, stored.metadata() or {}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ConfigError(f"{file} cannot be read as safetensors ({_reason(error)}). Copy it again.") from error


def is_folder(path: Path) -> bool:
    """Returns whether there is a folder at a path; a link to itself is none."""
    try:
        return path.is_dir()
    except (OSError, RuntimeError, ValueError):
        return False


def _reason(error: BaseException) -> str:
    """Returns the first words of an error of a library."""
    return "".join(c if c.isprintable() else " " for c in str(error))[:200] or type(error).__name__

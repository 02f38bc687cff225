"""Hints in the form of the place where they are typed.

Messages of the library name a value of a recipe as ``--set KEY=VALUE``, and an option of a reader as a keyword of
Python, ``columns={...}``. A command that trains takes options of a reader by ``--set`` too; the other commands have no
recipe: they take the model by ``--model``, ``--kind`` and ``--model-setting``, and options of a reader by ``--option``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

RECIPE_COMMANDS = ("train", "demo")
"""Commands that follow a recipe, and take its values with ``--set``."""
_COLUMNS = re.compile(
    r"""(?:--option ")?(columns|winners)=(\{[^{}]*\})"?(?:, or in a recipe data\.options: \{\1: \{[^{}]*\}\})?"""
)
_FORMAT = re.compile(r"\bgive format (\w+)")
_OPTION = re.compile(r"--option (\w+=\w+)(?:, or in a recipe data\.options: \{[^{}]*\})?")
_ROOT = re.compile(r"\bgive root=(\w+)")
_SAMPLING = re.compile(r"--set (?:evaluate|previews)\.(\w+)=")
_MODEL_NAMES = {"path": "--model", "kind": "--kind"}


def command_of(arguments: Sequence[str]) -> str:
    """Returns the command among a program's arguments: the first that is no option, nor ``--plugin``'s value."""
    values = iter(arguments)
    for argument in values:
        if argument == "--plugin":
            next(values, None)
        elif not argument.startswith("-"):
            return argument
    return ""


def as_typed(message: str, command: str) -> str:
    """Returns a message with its hints in the form that a command takes."""
    if command in RECIPE_COMMANDS:
        message = _COLUMNS.sub(r'--set "data.options.\1=\2"', message)
        message = _OPTION.sub(r"--set data.options.\1", message)
        message = _ROOT.sub(r"type --set data.options.root=\1", message)
        return _FORMAT.sub(r"type --set data.format=\1", message)
    message = _COLUMNS.sub(r'--option "\1=\2"', message)
    message = _FORMAT.sub(r"type --format \1", message)
    message = _ROOT.sub(r"type --option root=\1", message)
    for name, option in _MODEL_NAMES.items():
        message = re.sub(rf"--set model\.{name}=", f"{option} ", message)
        message = re.sub(rf"(?<![\w.])model\.{name}(?!\w)", option, message)
    message = re.sub(r"--set (['\"]?)model\.", r"--model-setting \1", message)
    message = _SAMPLING.sub(r"--setting \1=", message)
    return re.sub(r"--set output=", "--output ", message)

"""The published instructions of judges, which are a part of the input that their weights were trained on."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from pathlib import Path

from diffalign.errors import DataError
from diffalign.printable import shown

PLACE = "{text_prompt}"


@cache
def _template(name: str) -> str:
    return (Path(__file__).parent / "templates" / f"{name}.txt").read_bytes().decode("utf-8")


def instruction(name: str, prompt: str) -> str:
    """Returns the instruction of a judge with the prompt in its place."""
    before, after = _template(name).split(PLACE)
    return f"{before}{prompt}{after}"


def check_prompt(prompt: str, reserved: Collection[str], judge: str) -> None:
    """Raises :class:`DataError` where a prompt holds a token that marks images or scores in the judge's input."""
    found = [token for token in reserved if token in prompt]
    if found:
        raise DataError(
            f"the prompt {shown(prompt[:60])} contains {found[0]}, which marks a place in the input of {judge}: the "
            "score would be read elsewhere. Take the mark out of the prompt."
        )

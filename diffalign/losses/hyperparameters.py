"""Hyperparameters of a loss: their names and defaults from the function's signature, and checks of their values."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence

from torch import Tensor

Value = bool | float | str | Mapping[str, float]
"""A switch, a number, a word, or weights by name."""
Hyper = Mapping[str, Value]
"""Values by name: a loss's own hyperparameters and the shared settings that it has."""


def keyword_defaults(function: Callable[..., Tensor]) -> dict[str, Value | None]:
    """Returns names and defaults of a function's keyword-only parameters; None where a value must be given."""
    parameters = inspect.signature(function).parameters.values()
    keywords = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return {p.name: None if p.default is inspect.Parameter.empty else p.default for p in keywords}


def numbers_in(hyper: Hyper) -> dict[str, float]:
    """Returns the values that are numbers or switches, without words and weights."""
    return {name: value for name, value in hyper.items() if isinstance(value, (int, float))}


def check_switch(loss: str, name: str, value: object) -> None:
    """Raises ValueError for a value that is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} of the loss '{loss}' is true or false; got {value!r}")


def check_choice(loss: str, name: str, value: object, choices: Sequence[str]) -> None:
    """Raises ValueError for a value that is none of the choices, with the nearest one."""
    if value not in choices:
        near = nearest(str(value), choices)
        raise ValueError(f"{name} of the loss '{loss}' is one of {', '.join(choices)}; got {value!r}.{near}")


def nearest(name: str, names: Iterable[str]) -> str:
    """Returns ``" Did you mean ...?"`` with the most similar name, or ""."""
    similar = difflib.get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f" Did you mean '{similar[0]}'?" if similar else ""

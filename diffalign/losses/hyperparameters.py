"""Hyperparameters of a loss: their names and defaults from the function's signature, and checks of their values.

The function of a row is marked as :func:`checked`: called directly, it refuses what its row refuses. A bound loss has
been checked once, when it was made, and calls the function underneath.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec

from torch import Tensor

P = ParamSpec("P")

Value = bool | float | str | Mapping[str, float]
"""A switch, a number, a word, or weights by name."""
Hyper = Mapping[str, Value]
"""Values by name: a loss's own hyperparameters and the shared settings that it has."""


_UNDERNEATH: dict[Callable[..., Tensor], Callable[..., Tensor]] = {}
_CHECKS: dict[Callable[..., Tensor], Callable[[Mapping[str, Any]], None]] = {}


def checked(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Marks the function of a row, so that a direct call raises ValueError for hyperparameters that the row refuses."""

    @functools.wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if called in _CHECKS:
            _CHECKS[called](kwargs)
        return function(*args, **kwargs)

    _UNDERNEATH[called] = function
    return called


def unchecked(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns the function itself, for a caller whose hyperparameters have been checked."""
    return _UNDERNEATH.get(function, function)


def check_calls(function: Callable[..., Tensor], check: Callable[[Mapping[str, Any]], None]) -> None:
    """Has direct calls of a marked function checked by its row: the first row that names it."""
    if function in _UNDERNEATH:
        _CHECKS.setdefault(function, check)


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

"""The registry: rows of losses by name, the search by a name or an alias, and rows from outside the package."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping

from diffalign.losses.hyperparameters import check_choice, nearest
from diffalign.losses.loss import NEEDS, Loss, hyperparameters

MEDIA = ("image", "video", "text")
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def table(*rows: Loss) -> dict[str, Loss]:
    """Returns rows by name. Two rows of one name, or an alias that is already taken, fail an assertion."""
    taken = [name for row in rows for name in (row.name, *row.aliases)]
    assert len(taken) == len(set(taken)), f"a name occurs twice among {sorted(taken)}"
    return {row.name: row for row in rows}


def find(rows: Mapping[str, Loss], name: str) -> Loss:
    """Returns the row of a name or an alias. Raises ValueError with the nearest one."""
    by_alias = {alias: row for row in rows.values() for alias in (row.name, *row.aliases)}
    if name not in by_alias:
        raise ValueError(f"there is no loss '{name}'; known are {', '.join(rows)}.{nearest(name, by_alias)}")
    return by_alias[name]


def add(rows: dict[str, Loss], aliases: dict[str, str], row: Loss, *, built_in: Collection[str], replace: bool) -> None:
    """Adds a row from outside the package, with its aliases.

    Args:
        rows: Every loss by name.
        aliases: Every other name, with the name that it stands for.
        row: The new row.
        built_in: Names that keep their meaning.
        replace: Whether a row of that name that was added before is replaced.

    Raises:
        ValueError: The row is incomplete, or one of its names is taken.
    """
    _check_row(row)
    before = rows.get(row.name)
    free = {before.name, *before.aliases} if before is not None and replace else set()
    for name in (row.name, *row.aliases):
        if name in built_in:
            raise ValueError(f"there is a loss '{name}' in diffalign, which keeps its meaning; choose another name")
        if name not in free and (name in rows or name in aliases):
            raise ValueError(
                f"there is a loss '{name}' already; choose another name, or register it with replace=True where it "
                "takes the place of an earlier version"
            )
    for name in before.aliases if before is not None else ():
        del aliases[name]
    rows[row.name] = row
    aliases.update(dict.fromkeys(row.aliases, row.name))


def _check_row(row: Loss) -> None:
    if not isinstance(row, Loss):
        raise ValueError(f"a loss is registered as a row, diffalign.Loss(name=..., function=...); got {row!r}")
    for field, words in (("takes", ("margin", "logps")), ("kind", ("pair", "single", "list")), ("media", MEDIA)):
        given = getattr(row, field)
        for word in given if isinstance(given, (tuple, list)) else (given,):
            check_choice(row.name, field, word, words)
    parameters = inspect.signature(row.function).parameters.values()
    if len(positional := [p.name for p in parameters if p.kind in POSITIONAL]) != 1:
        raise ValueError(
            f"the function of the loss '{row.name}' must have one positional parameter, the margin or the "
            f"log-probabilities; it has {', '.join(positional) or 'none'}. Write a star before its hyperparameters: "
            "def loss(margin, *, beta)"
        )
    if unknown := [need for need in row.needs if need not in NEEDS]:
        raise ValueError(
            f"the loss '{row.name}' needs '{unknown[0]}', which there is not.{nearest(unknown[0], NEEDS)} Known: "
            f"{', '.join(NEEDS)}"
        )
    own = hyperparameters(row)
    switches = {name for name, default in own.items() if isinstance(default, bool)}
    if open_ := [name for name in own if name not in switches | set(row.limits) | set(row.choices)]:
        raise ValueError(
            f"the loss '{row.name}' has no range for {', '.join(open_)}: give each number a Range in limits, each word "
            "its choices"
        )
    if strange := [name for name in (*row.limits, *row.choices) if name not in own]:
        raise ValueError(
            f"the loss '{row.name}' has a range for '{strange[0]}', but its function has no such keyword-only parameter"
            f"{'; it has ' + ', '.join(own) if own else ''}"
        )

"""Adds a row from outside the package to one of its tables: scorers, readers, labels, methods."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from diffalign.errors import ConfigError

Row = TypeVar("Row")


def register_row(
    kind: str, rows: dict[str, Row], name: str, row: Row, *, built_in: Collection[str], replace: bool
) -> None:
    """Adds a row to a table under a name.

    Args:
        kind: What the rows are, for messages: "scorer".
        rows: The table.
        name: The name in recipes and on the command line.
        row: What it stands for.
        built_in: Names that keep their meaning: those of the package, with other names for them.
        replace: Whether a row of that name that was registered before is replaced.

    Raises:
        ConfigError: The name is no word, or is taken.
    """
    if not isinstance(name, str) or not name or any(c.isspace() or c in ":,=" for c in name):
        raise ConfigError(f"the name of a {kind} is one word without ':', ',' and '='; got {name!r}.")
    if name in built_in:
        raise ConfigError(
            f"there is a {kind} '{name}' in diffalign, which keeps its meaning. Choose another name, such as my_{name}."
        )
    if name in rows and not replace:
        raise ConfigError(
            f"there is a {kind} '{name}' already. Choose another name, or register it with replace=True where it takes "
            "the place of an earlier version."
        )
    rows[name] = row

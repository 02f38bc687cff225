"""The registry: rows of losses by name, and the search by a name or an alias."""

from __future__ import annotations

from collections.abc import Mapping

from diffalign.losses.hyperparameters import nearest
from diffalign.losses.loss import Loss


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

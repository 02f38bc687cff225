"""Aliases in a recipe: other names of labels and losses become the names of their tables.

So presets, saved recipes and reports compare and show one name for one thing, whichever a recipe was written with.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffalign.labels import LABEL_ALIASES
from diffalign.losses import LOSS_ALIASES
from diffalign.training.recipe.bind import PLUS

ALIASES: Mapping[str, Mapping[str, str]] = {"labels": LABEL_ALIASES, "loss": LOSS_ALIASES}
"""Aliases by the section of a recipe in which they are names."""


def with_table_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces the aliases in a recipe's nested values; everything else stays as it is."""
    return {key: _replaced(value, ALIASES[key]) if key in ALIASES else value for key, value in values.items()}


def _replaced(choice: Any, aliases: Mapping[str, str]) -> Any:
    """A choice in each of its forms: a name, a name with settings, or a list of these."""
    if isinstance(choice, str):
        return aliases.get(choice, choice)
    if isinstance(choice, (list, tuple)):
        return [_replaced(one, aliases) for one in choice]
    if not isinstance(choice, Mapping):
        return choice
    return {key: _replaced(value, aliases) if key in ("name", PLUS) else value for key, value in choice.items()}

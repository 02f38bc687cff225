"""Puts the defaults of a method under the values of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffalign.errors import ConfigError, near_miss
from diffalign.methods import METHODS
from diffalign.printable import shown
from diffalign.training.recipe.bind import as_choice, merged
from diffalign.training.recipe.loss_and_label_aliases import with_table_names

AXES = ("pairs", "latents", "labels", "loss")
"""Sections that are choices: a name with its hyperparameters, replaced as a whole when the name differs."""


def with_latents(values: Mapping[str, Any]) -> dict[str, Any]:
    """Moves ``latents`` from the top level into the model section, where the policy reads it. Where both are given,
    the one at the top level wins: it is the one that `--set` over a written recipe sets.
    """
    result = dict(values)
    latents, model = result.pop("latents", None), result.get("model", {})
    if latents is not None and isinstance(model, Mapping):
        result["model"] = {**model, "latents": merged(model["latents"], latents) if "latents" in model else latents}
    return result


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the preset that ``method`` names under the given values, which win key by key."""
    values = with_table_names(with_latents(values))
    name = values.get("method")
    if name is None:
        return values
    if not isinstance(name, str) or name not in METHODS:
        near = near_miss(name, METHODS) if isinstance(name, str) else " A method is one name."
        raise ConfigError(f"there is no method {shown(name)}.{near} Known: {', '.join(METHODS)}.")
    result = with_latents(METHODS[name].defaults)
    for key, given in values.items():
        preset, given = result.get(key), as_choice(given) if key == "loss" else given
        if preset is not None and key in AXES:
            result[key] = merged(preset, given)
        elif isinstance(preset, Mapping) and isinstance(given, Mapping):
            result[key] = {**preset, **given}
            if "latents" in preset and "latents" in given:  # the model's: a choice within a section
                result[key]["latents"] = merged(preset["latents"], given["latents"])
            if isinstance(preset.get("clip"), Mapping) and isinstance(given.get("clip"), Mapping):
                result[key]["clip"] = {**preset["clip"], **given["clip"]}
        else:
            result[key] = given
    return result

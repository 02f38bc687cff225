"""A method's defaults under a recipe's own values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffalign.errors import ConfigError, near_miss
from diffalign.methods import METHODS
from diffalign.training.choice import merged

AXES = ("pairs", "latents", "labels", "loss")
"""Sections that are choices: a name with its hyperparameters, replaced as a whole when the name differs."""


def with_latents(values: Mapping[str, Any]) -> dict[str, Any]:
    """Moves ``latents`` from beside the other axes into the model's section, where the policy looks for it."""
    result = dict(values)
    latents, model = result.pop("latents", None), result.get("model")
    if latents is not None and isinstance(model, Mapping):
        result["model"] = {**model, "latents": merged(latents, model["latents"]) if "latents" in model else latents}
    return result


def with_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the preset that ``method`` names under the given values; what is given wins, key by key."""
    name = values.get("method")
    if name is None:
        return dict(values)
    if name not in METHODS:
        raise ConfigError(f"there is no method '{name}'.{near_miss(str(name), METHODS)} Known: {', '.join(METHODS)}.")
    result: dict[str, Any] = dict(METHODS[name].defaults)
    for key, given in values.items():
        preset = result.get(key)
        if preset is not None and key in AXES:
            result[key] = merged(preset, given)
        elif isinstance(preset, Mapping) and isinstance(given, Mapping):
            result[key] = {**preset, **given}
        else:
            result[key] = given
    return result

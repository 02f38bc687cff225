"""Kinds of policies that a recipe can name in ``model.kind``: how each is configured and how it is opened.

The loop knows the seam alone; this table is the only place that says which policies there are. A kind is loaded when a
recipe names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from diffalign.errors import ConfigError, near_miss
from diffalign.policies.policy import Policy


@dataclass(frozen=True)
class ModelKind:
    """A kind of policy.

    Args:
        config: Returns the pydantic model that stands beside the policy.
        open: Builds the policy from such a model.
    """

    config: Callable[[], type[BaseModel]]
    open: Callable[[Any], Policy]


def _image_config() -> type[BaseModel]:
    from diffalign.policies.diffusion.load import ModelConfig

    return ModelConfig


def _open_image(config: Any) -> Policy:
    from diffalign.policies.diffusion.load import load_policy

    return load_policy(config)


MODELS: dict[str, ModelKind] = {"image": ModelKind(_image_config, _open_image)}


def resolve_model(value: Any) -> Any:
    """A recipe's ``model`` section as the model of its kind. Pydantic reports what does not fit."""
    if not isinstance(value, Mapping):
        return value
    kind = value.get("kind", "image")
    if kind not in MODELS:
        raise ConfigError(
            f"model.kind: there is no '{kind}'.{near_miss(str(kind), MODELS)} Known: {', '.join(MODELS)}."
        )
    config = MODELS[kind].config()
    drop = () if "kind" in config.model_fields else ("kind",)
    return config.model_validate({key: item for key, item in value.items() if key not in drop})


def kind_of(config: Any) -> str:
    """The kind that a model section belongs to."""
    return next(name for name, kind in MODELS.items() if isinstance(config, kind.config()))


def open_model(config: Any, **shared: Any) -> Policy:
    """Opens the policy of a recipe. ``shared`` are values of other sections that the policy also has a place for."""
    fields = type(config).model_fields
    update = {name: value for name, value in shared.items() if name in fields and value is not None}
    return MODELS[kind_of(config)].open(config.model_copy(update=update))

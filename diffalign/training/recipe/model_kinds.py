"""Kinds of policies that a recipe can name in ``model.kind``: how each is configured, opened and sampled.

The loop uses only the policy interface; this table is the only list of the policies. A kind is imported when a recipe
names it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from diffalign.errors import ConfigError, near_miss
from diffalign.policies.policy import Policy
from diffalign.printable import shown


@dataclass(frozen=True)
class ModelKind:
    """A kind of policy.

    Args:
        medium: What its samples are: ``"image"``, ``"video"`` or ``"text"``.
        config: Returns the pydantic model of its configuration.
        open: Builds the policy from a configuration.
        aligned: Builds it with a shared adapter on it.
        merged: Writes the whole model with a shared adapter in its weights into a folder.
        sampling: Returns the pydantic model of its settings of ``sample``, for previews and evaluation.
        candidates: Returns that of its settings of ``make_candidates``, for pairs of its own samples.
        recognises: Whether a folder contains a model of this kind, where a recipe names none.
    """

    medium: str
    config: Callable[[], type[BaseModel]]
    open: Callable[[Any], Policy]
    aligned: Callable[[Any, Path], Policy]
    merged: Callable[[Any, Path, Path], Path]
    sampling: Callable[[], type[BaseModel]]
    candidates: Callable[[], type[BaseModel]]
    recognises: Callable[[Path], bool]


def _image_config() -> type[BaseModel]:
    from diffalign.policies.diffusion.load import ModelConfig

    return ModelConfig


def _open_image(config: Any) -> Policy:
    from diffalign.policies.diffusion.load import load_policy

    return load_policy(config)


def _aligned_image(config: Any, adapter: Path) -> Policy:
    from diffalign.policies.diffusion.load import load_aligned

    return load_aligned(config, adapter)


def _merged_image(config: Any, adapter: Path, folder: Path) -> Path:
    from diffalign.policies.diffusion.merge_into_base import merge_into_base

    return merge_into_base(config, adapter, folder)


def _image_sampling() -> type[BaseModel]:
    from diffalign.policies.diffusion.sampling.sample import ImageSampling

    return ImageSampling


def _image_candidates() -> type[BaseModel]:
    from diffalign.policies.diffusion.sampling.candidates import ImageCandidates

    return ImageCandidates


def _video_config() -> type[BaseModel]:
    from diffalign.policies.diffusion.load import VideoModelConfig

    return VideoModelConfig


def _video_sampling() -> type[BaseModel]:
    from diffalign.policies.diffusion.sampling.sample import ClipSampling

    return ClipSampling


def _video_candidates() -> type[BaseModel]:
    from diffalign.policies.diffusion.sampling.candidates import ClipCandidates

    return ClipCandidates


def _pipeline_of(folder: Path) -> str:
    """Returns the class of pipeline that a folder's index names; an empty string where there is no index."""
    try:
        return str(json.loads((folder / "model_index.json").read_text(encoding="utf-8")).get("_class_name"))
    except (ValueError, OSError, AttributeError):
        return ""


def _text_config() -> type[BaseModel]:
    from diffalign.policies.language.config import LanguageConfig

    return LanguageConfig


def _open_text(config: Any) -> Policy:
    from diffalign.policies.language.load import load_policy

    return load_policy(config)


def _aligned_text(config: Any, adapter: Path) -> Policy:
    from diffalign.policies.language.load import load_aligned

    return load_aligned(config, adapter)


def _merged_text(config: Any, adapter: Path, folder: Path) -> Path:
    from diffalign.policies.language.merge_into_base import merge_into_base

    return merge_into_base(config, adapter, folder)


def _text_sampling() -> type[BaseModel]:
    from diffalign.policies.language.generation.settings import TextSampling

    return TextSampling


def _text_candidates() -> type[BaseModel]:
    from diffalign.policies.language.generation.settings import TextCandidates

    return TextCandidates


def _is_text(folder: Path) -> bool:
    """Returns whether a folder has a transformers model's config.json, or a GGUF file.

    A single part of a diffusers pipeline has a config.json too, which names diffusers.
    """
    if (folder / "model_index.json").exists():
        return False
    if not (folder / "config.json").exists():
        return any(folder.glob("*.gguf"))
    try:
        return "_diffusers_version" not in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError):
        return False


VIDEO_PIPELINES = ("AnimateDiffPipeline", "AnimateDiffSDXLPipeline", "TextToVideoSDPipeline")
"""Pipelines that make clips, as their folders name them; rows of `policies.diffusion.families`."""

MODELS: dict[str, ModelKind] = {
    "image": ModelKind(
        "image",
        _image_config,
        _open_image,
        _aligned_image,
        _merged_image,
        _image_sampling,
        _image_candidates,
        lambda folder: (folder / "model_index.json").exists() and _pipeline_of(folder) not in VIDEO_PIPELINES,
    ),
    "video": ModelKind(
        "video",
        _video_config,
        _open_image,
        _aligned_image,
        _merged_image,
        _video_sampling,
        _video_candidates,
        lambda folder: _pipeline_of(folder) in VIDEO_PIPELINES,
    ),
    "text": ModelKind(
        "text",
        _text_config,
        _open_text,
        _aligned_text,
        _merged_text,
        _text_sampling,
        _text_candidates,
        _is_text,
    ),
}
"""Every kind by name; the first is the default where neither the recipe nor the model's folder shows the kind."""


def kind_named(section: Mapping[str, Any]) -> str:
    """Returns the kind of a recipe's ``model`` section: the one that it names, that of a motion adapter, otherwise the
    one that its folder shows.

    Raises:
        ConfigError: There is no such kind.
    """
    kind = section.get("kind")
    if kind is None and section.get("motion") is not None:
        return "video"
    if kind is None:
        folder = Path(os.path.expanduser(str(section.get("path", ""))))
        found = (name for name, row in MODELS.items() if os.path.isdir(folder) and row.recognises(folder))
        return next(found, next(iter(MODELS)))
    if not isinstance(kind, str) or kind not in MODELS:
        raise ConfigError(
            f"model.kind: there is no {shown(kind)}.{near_miss(str(kind), MODELS)} Known: {', '.join(MODELS)}."
        )
    return kind


def resolve_model(value: Any) -> Any:
    """Returns a recipe's ``model`` section as the pydantic model of its kind, which reports errors."""
    if not isinstance(value, Mapping):
        path = value if isinstance(value, str) else "FOLDER"
        raise ValueError(
            f"the model section has a path and further settings; got {shown(value)}. Type: --set model.path={path}"
        )
    config = MODELS[kind_named(value)].config()
    drop = () if "kind" in config.model_fields else ("kind",)
    return config.model_validate({key: item for key, item in value.items() if key not in drop})


def kind_of(config: Any) -> str:
    """Returns the name of the kind of a model section."""
    return next(name for name, kind in MODELS.items() if type(config) is kind.config())


def model_kind(config: Any) -> ModelKind:
    """Returns the row of the kind of a model section."""
    return MODELS[kind_of(config)]


def open_model(config: Any, **shared: Any) -> Policy:
    """Opens the policy of a recipe. ``shared`` are values of other sections, for fields of its configuration."""
    fields = type(config).model_fields
    update = {name: value for name, value in shared.items() if name in fields and value is not None}
    return model_kind(config).open(config.model_copy(update=update))

"""What is shared of a trained denoiser: an adapter file or a whole pipeline, and the model card beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from diffalign.files.atomic import replace_folder
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.encoding.frozen_components import FrozenComponents
from diffalign.policies.diffusion.video_config import VideoModelConfig
from diffalign.sharing.adapter_file import save_adapter
from diffalign.sharing.card import Card, CardStyle, write_card
from diffalign.sharing.card_templates import image_style
from diffalign.sharing.public_name import public_name
from diffalign.sharing.video_card import MotionParts, video_style


def save_denoiser(
    config: ModelConfig,
    frozen: FrozenComponents,
    network: nn.Module,
    fingerprint: str,
    folder: Path,
    about: Mapping[str, Any],
) -> Path:
    """Writes the adapter file, or for full fine-tuning a whole pipeline folder; returns its path.

    The folder of a model with motion modules holds them twice, as diffusers writes such pipelines: in the network, and
    in ``motion_adapter/``, which fits other bases.

    Args:
        config: The model's section of the recipe.
        frozen: The components around the network.
        network: The bare network.
        fingerprint: Identity of the base.
        folder: Where it is written.
        about: Facts for the metadata of an adapter file.
    """
    component = frozen.family.component
    if config.adapter is not None:
        facts = {
            "base_model": public_name(config.path),
            "base_revision": config.revision,
            **_clip_facts(config),
            **about,
        }
        return save_adapter(network, folder, {**facts, "base_fingerprint": fingerprint}, component)
    with frozen.kept_loaded() as pipeline:
        parts = frozen.family.saved_parts(network)
        pipeline.register_modules(**parts)
        try:
            return replace_folder(Path(folder), pipeline.save_pretrained)
        finally:
            pipeline.register_modules(**dict.fromkeys(parts))


def write_denoiser_card(config: ModelConfig, frozen: FrozenComponents, artifact: Path, card: Card) -> Path:
    """Writes ``README.md`` next to the adapter file, or into the pipeline's folder, with copies of the examples."""
    folder, name = (artifact.parent, artifact.name) if config.adapter is not None else (artifact, None)
    return write_card(folder, _style(config, frozen, name), card)


def _style(config: ModelConfig, frozen: FrozenComponents, weight_name: str | None) -> CardStyle:
    pipeline, base = frozen.family.pipeline, public_name(config.path)
    if not isinstance(config, VideoModelConfig):
        return image_style(base, pipeline, weight_name)
    motion, source = None, frozen.source
    if config.motion is not None:
        betas = None if source.betas == "own" else source.betas
        own = [name for name in _OWN_PARTS if source.holder(name) == source.motion]
        classes = {name: type(getattr(frozen.pipeline(), name)).__name__ for name in own}
        motion = MotionParts(public_name(config.motion), betas, classes)
    return video_style(base, pipeline, weight_name, motion, config.clip.frames, loads=frozen.family.reads_lora)


def _clip_facts(config: ModelConfig) -> dict[str, Any]:
    if not isinstance(config, VideoModelConfig):
        return {}
    motion = None if config.motion is None else public_name(config.motion)
    return {"motion": motion, "frames": config.clip.frames, "fps": config.clip.fps}


_OWN_PARTS = ("tokenizer", "text_encoder", "tokenizer_2", "text_encoder_2", "scheduler")

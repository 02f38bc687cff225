"""The card style of text-to-video models: how plain diffusers loads what was trained, with every part that it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from diffalign.sharing.card import CardStyle
from diffalign.sharing.card_templates import show_images
from diffalign.sharing.markdown import literal

VIDEOS = ("text-to-video", "diffusers", "diffusers-training")
PROMPT = '"a fox runs through the snow"'


@dataclass(frozen=True)
class MotionParts:
    """The motion adapter that makes a base a video model.

    Args:
        name: Its hub name, or the name of its folder.
        betas: The spacing of the betas that it was aligned at; None: that of the scheduler's file.
        own: Parts of its own that take the place of the base's, with their classes.
    """

    name: str
    betas: str | None = None
    own: Mapping[str, str] = field(default_factory=dict)


def video_style(
    base_model: str,
    pipeline: str,
    weight_name: str | None,
    motion: MotionParts | None,
    frames: int,
    *,
    loads: bool = True,
) -> CardStyle:
    """Returns the style of an adapter of a video model, or of a whole pipeline (``weight_name`` None).

    Args:
        base_model: The base.
        pipeline: Its class in diffusers.
        weight_name: The adapter's file.
        motion: The motion adapter; None: the base holds its motion layers.
        frames: Frames of a clip.
        loads: Whether the pipeline has a loader of adapters.
    """

    def snippet(name: str) -> str:
        draw = f"pipeline({PROMPT}, num_frames={frames}).frames[0]"
        if weight_name is None:
            lines = [f"from diffusers import {pipeline}", "", f"pipeline = {pipeline}.from_pretrained({literal(name)})"]
            return "\n".join([*lines, draw])
        lines = _base_lines(base_model, pipeline, motion)
        if not loads:
            lines.insert(0, "from diffusers.loaders import PeftAdapterMixin")
            lines += [
                "# diffusers has no loader of adapters for this network; this adds one. Or make a whole pipeline:",
                f"# diffalign merge {name}/{weight_name} --into {base_model} --output FOLDER",
                'pipeline.unet.__class__ = type("UNet", (PeftAdapterMixin, type(pipeline.unet)), {})',
            ]
        lines.append(f"pipeline.load_lora_weights({literal(name)}, weight_name={literal(weight_name)})")
        return "\n".join([*lines, draw])

    adapter = weight_name is not None
    return CardStyle(
        base_model=base_model,
        adapter=adapter,
        library="diffusers",
        task="text-to-video",
        tags=(*VIDEOS, *(("lora",) if adapter else ()), *(("animatediff",) if "Animate" in pipeline else ())),
        snippet=snippet,
        show=show_images,
    )


def _base_lines(base: str, pipeline: str, motion: MotionParts | None) -> list[str]:
    """Returns the lines that load the model that an adapter belongs to."""
    if motion is None:
        return [f"from diffusers import {pipeline}", "", f"pipeline = {pipeline}.from_pretrained({literal(base)})"]
    by_library = {True: ["MotionAdapter", pipeline], False: list[str]()}
    for part, kind in motion.own.items():
        by_library[part == "scheduler"].append(kind)
    lines = [f"from diffusers import {', '.join(sorted(by_library[True]))}"]
    if by_library[False]:
        lines.append(f"from transformers import {', '.join(sorted(set(by_library[False])))}")
    where = literal(motion.name)
    lines += ["", f"pipeline = {pipeline}.from_pretrained(", f"    {literal(base)},"]
    lines.append(f"    motion_adapter=MotionAdapter.from_pretrained({where}),")
    lines += [
        f"    {part}={kind}.from_pretrained({where}, subfolder={literal(part)})," for part, kind in motion.own.items()
    ]
    lines.append(")")
    if "XL" in pipeline:
        lines[0] += ", UNet2DConditionModel"
        lines += [
            "# diffusers (0.42) leaves an embedding of XL at random values when it adds the motion adapter.",
            f'unet = UNet2DConditionModel.from_pretrained({literal(base)}, subfolder="unet")',
            "pipeline.unet.load_state_dict(unet.state_dict(), strict=False)",
        ]
    if motion.betas is not None:
        lines.append(
            "pipeline.scheduler = pipeline.scheduler.from_config("
            f"pipeline.scheduler.config, beta_schedule={literal(motion.betas)})"
        )
    return lines

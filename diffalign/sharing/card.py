"""Model cards: the README.md beside an adapter, with the front matter that the hub reads and how it was aligned."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from diffalign import __version__
from diffalign.sharing.atomic import write_atomically

TAGS = ("text-to-image", "diffusers", "diffusers-training", "lora", "template:sd-lora")
ALIGNED = ("preference-optimization", "diffalign")


def write_card(
    folder: Path,
    *,
    base_model: str,
    method: str,
    pipeline: str = "StableDiffusionPipeline",
    license: str = "other",
    datasets: Sequence[str] = (),
    training: Mapping[str, Any] | None = None,
    evaluation: Sequence[Mapping[str, Any]] = (),
    prompts: Sequence[str] = (),
    images: Sequence[str] = (),
    weight_name: str | None = "pytorch_lora_weights.safetensors",
) -> Path:
    """Writes ``folder/README.md``.

    Args:
        folder: The adapter's folder.
        base_model: Hub name of the base, or what it is called.
        method: Short name of the preference method, such as ``diffusion-dpo``.
        pipeline: Class that loads the base.
        license: The base's licence: an adapter inherits it.
        datasets: Hub names of the preference data.
        training: What to show of the run, in order: ``{"beta": 2000, "steps": 500}``.
        evaluation: Rows of one table; equal keys, the first row's order.
        prompts: Example prompts, for the widget.
        images: Their pictures, relative to ``folder``, same order.
        weight_name: The adapter file; None when the folder is a whole pipeline.

    Returns:
        The card's path.
    """
    text = card(
        base_model=base_model,
        method=method,
        pipeline=pipeline,
        license=license,
        datasets=datasets,
        training=training,
        evaluation=evaluation,
        prompts=prompts,
        images=images,
        weight_name=weight_name,
        name=Path(folder).name,
    )
    return write_atomically(Path(folder) / "README.md", lambda path: path.write_text(text, encoding="utf-8"))


def copy_examples(folder: Path, pictures: Sequence[Path]) -> list[str]:
    """Copies pictures into ``folder/images`` and returns their names relative to the folder, as a card needs them."""
    names = []
    for number, picture in enumerate(pictures):
        name = f"images/example_{number}{Path(picture).suffix}"
        (Path(folder) / "images").mkdir(exist_ok=True)
        write_atomically(Path(folder) / name, partial(shutil.copyfile, picture))
        names.append(name)
    return names


def card(
    *,
    base_model: str,
    method: str,
    pipeline: str,
    license: str,
    datasets: Sequence[str],
    training: Mapping[str, Any] | None,
    evaluation: Sequence[Mapping[str, Any]],
    prompts: Sequence[str],
    images: Sequence[str],
    weight_name: str | None,
    name: str,
) -> str:
    """The card's text; arguments are those of :func:`write_card`."""
    import yaml

    adapter = weight_name is not None
    family = "stable-diffusion-xl" if "XL" in pipeline else "stable-diffusion"
    tags = [tag for tag in TAGS if adapter or tag not in ("lora", "template:sd-lora")]
    front: dict[str, Any] = {
        "license": license,
        "library_name": "diffusers",
        "base_model": base_model,
        "base_model_relation": "adapter" if adapter else "finetune",
        "pipeline_tag": "text-to-image",
        "datasets": list(datasets),
        "tags": [*tags, family, f"{family}-diffusers", *ALIGNED, method],
    }
    if images:
        pairs = zip(prompts, images, strict=True)
        front["widget"] = [{"text": prompt, "output": {"url": image}} for prompt, image in pairs]
    head = yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False, allow_unicode=True)
    what = f"A LoRA for `{base_model}`" if adapter else f"A fine-tuned `{base_model}`"
    parts = [f"---\n{head}---", f"# {name}", f"{what}, aligned with preferences by {method} (diffalign {__version__})."]
    parts += ["<Gallery />"] if images else []
    parts += ["## Use", f"```python\n{snippet(base_model, pipeline, weight_name, name)}\n```"]
    if training:
        parts += [
            "## How it was trained",
            _table([{"setting": key, "value": value} for key, value in training.items()]),
        ]
    if evaluation:
        parts += ["## Evaluation", _table(evaluation)]
    return "\n\n".join(parts) + "\n"


def snippet(base_model: str, pipeline: str, weight_name: str | None, name: str) -> str:
    """Python lines that draw a picture with plain diffusers, from the folder or repository ``name``."""
    lines = [f"from diffusers import {pipeline}", ""]
    if weight_name is None:
        lines.append(f'pipeline = {pipeline}.from_pretrained("{name}")')
    else:
        lines.append(f'pipeline = {pipeline}.from_pretrained("{base_model}")')
        lines.append(f'pipeline.load_lora_weights("{name}", weight_name="{weight_name}")')
    return "\n".join([*lines, 'pipeline("a galaxy-colored figurine floating over the sea").images[0]'])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    heads = list(rows[0])
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(_cell(row.get(head)) for head in heads) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value).replace("|", "\\|").replace("\n", " ")

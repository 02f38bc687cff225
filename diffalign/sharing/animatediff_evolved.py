"""Motion LoRA by the names of AnimateDiff's own programs, which ComfyUI-AnimateDiff-Evolved reads.

    PATH.motion_modules.j.temporal_transformer.transformer_blocks.k.attention_blocks.{0, 1}
        .processor.to_{q, k, v, out}_lora.{down, up}.weight

Those readers add ``strength (up down)`` to the motion module's weight: they know no alpha, so the scale is folded into
``up``; and they know only the two temporal attentions of a block (``attn1``, ``attn2`` of diffusers), so
an adapter with others is refused rather than written in part.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor

from diffalign.errors import ConfigError
from diffalign.files.atomic import write_atomically
from diffalign.sharing.shared_adapter import SharedAdapter

_LAYER = re.compile(
    r"(?P<path>.*motion_modules\.\d+)\.transformer_blocks\.(?P<block>\d+)"
    r"\.attn(?P<attention>[12])\.to_(?P<part>q|k|v|out\.0)"
)


def animatediff_evolved_tensors(adapter: SharedAdapter) -> dict[str, Tensor]:
    """Returns the tensors of an adapter by the names above, float32.

    Raises:
        ConfigError: It has magnitudes (DoRA), or a layer besides the attention of motion modules.
    """
    if adapter.shape.dora:
        raise ConfigError(
            f"{adapter.path} has separate magnitudes (DoRA), which readers of AnimateDiff's names do not know. Train"
            " with model.adapter.dora=false."
        )
    renamed = {layer: animatediff_evolved_layer(layer) for layer in adapter.shape.targets}
    if foreign := [layer for layer, name in renamed.items() if name is None]:
        raise ConfigError(
            f"{adapter.path} changes {len(foreign)} layers besides the attention of motion modules, first {foreign[0]};"
            " readers of AnimateDiff's names know no others. Train with model.adapter.targets=motion."
        )
    tensors = {}
    for key, value in adapter.folded().items():
        layer, _, side = key.partition(".lora_")
        tensors[f"{renamed[layer]}_lora.{'down' if side.startswith('A') else 'up'}.weight"] = value.contiguous()
    return tensors


def animatediff_evolved_layer(layer: str) -> str | None:
    """Returns AnimateDiff's name of diffusers' layer; None for a layer that is no attention of a motion module."""
    found = _LAYER.fullmatch(layer)
    if found is None:
        return None
    attention = int(found["attention"]) - 1
    block = f"{found['path']}.temporal_transformer.transformer_blocks.{found['block']}.attention_blocks.{attention}"
    return f"{block}.processor.to_{found['part'].removesuffix('.0')}"


def write_animatediff_evolved(adapter: SharedAdapter, path: Path) -> Path:
    """Writes the file that goes into ComfyUI's folder ``models/animatediff_motion_lora``, and returns its path.

    Raises:
        ConfigError: As `animatediff_evolved_tensors`.
    """
    from safetensors.torch import save_file

    tensors = animatediff_evolved_tensors(adapter)
    return write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata={"format": "pt"}))

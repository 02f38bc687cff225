"""Reads the facts of a shared adapter: its kind, its training, and its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffalign.sharing.adapter_file import find_adapter_file, read_adapter
from diffalign.sharing.adapter_state_dict import shape_of
from diffalign.sharing.peft_folder import WEIGHTS, find_peft, is_peft_folder, read_peft


def read_info(path: Path) -> dict[str, Any]:
    """Returns facts about an adapter, diffusers' file or peft's folder, in display order.

    ``file``, ``bytes``, ``kind`` (LoRA or DoRA), ``rank``, ``scale``, ``layers``, ``parameters``, then its metadata
    (method, beta, base_model, eval ...), which adapters of other programs lack.
    """
    if is_peft_folder(path):
        file = find_peft(path) / WEIGHTS
        tensors, about = read_peft(path)
        scale = about.pop("scale")
        about.pop("config")
    else:
        file = find_adapter_file(path)
        tensors, about = read_adapter(file)
        scale = None
    shape = shape_of(tensors, file)
    if scale is None:
        scale = about.pop("config", {}).get("lora_alpha", shape.rank) / shape.rank
    facts: dict[str, Any] = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "kind": "DoRA" if shape.dora else "LoRA",
        "rank": shape.rank,
        "scale": scale,
        "layers": len(shape.targets),
        "parameters": sum(value.numel() for value in tensors.values()),
    }
    return facts | about

"""Reading back what a shared adapter says about itself: what it is, how it was aligned, and from which base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffalign.sharing.adapter_file import find_adapter_file, read_adapter
from diffalign.sharing.adapter_tensors import shape_of
from diffalign.sharing.peft_folder import WEIGHTS, find_peft, is_peft_folder, read_peft


def read_info(path: Path) -> dict[str, Any]:
    """Facts about an adapter, diffusers' file or peft's folder, in the order in which to show them.

    ``file``, ``bytes``, ``kind`` (LoRA or DoRA), ``rank``, ``scale``, ``layers``, ``parameters``, then what it says of
    itself (method, beta, base_model, eval ...). Those of other programs have the first part only.
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

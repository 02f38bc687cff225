"""Reading back what a shared file says about itself: what it is, how it was aligned, and from which base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffalign.sharing.adapter_file import adapter_shape, find_file, read_adapter


def read_info(path: Path) -> dict[str, Any]:
    """Facts about an adapter file, in the order in which to show them.

    ``file``, ``bytes``, ``kind`` (LoRA or DoRA), ``rank``, ``scale``, ``layers``, ``parameters``, then every
    ``diffalign.*`` fact (method, beta, base_model, eval ...). Files of other programs have the first part only.
    """
    file = find_file(path)
    tensors, about = read_adapter(file)
    shape = adapter_shape(file)
    config = about.pop("config", {})
    alpha = config.get("lora_alpha", shape.rank)
    facts: dict[str, Any] = {
        "file": str(file),
        "bytes": file.stat().st_size,
        "kind": "DoRA" if shape.dora else "LoRA",
        "rank": shape.rank,
        "scale": alpha / shape.rank,
        "layers": len(shape.targets),
        "parameters": sum(value.numel() for value in tensors.values()),
    }
    return facts | about

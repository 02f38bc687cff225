"""Merges adapters of one base into one adapter: the exact weighted sum of their deltas.

    W + sum_i w_i scale_i B_i A_i  =  W + [w_1 scale_1 B_1 | w_2 scale_2 B_2 | ...] [A_1; A_2; ...]

The *products* are summed: sums of the factors B and A would also contain products of different adapters. The rank of
the result is the sum of the ranks, and readers need no scale (alpha is the rank).

Source: the combination across domains of Qi et al. 2024 (arXiv 2406.05534), COFS-DPO.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffalign import __version__
from diffalign.errors import ConfigError
from diffalign.sharing.adapter_file import COMPONENT, FILE_NAME, read_adapter
from diffalign.sharing.adapter_state_dict import layers, shape_of
from diffalign.sharing.atomic import write_atomically
from diffalign.sharing.peft_folder import CONFIG, FACTS, WEIGHTS, is_peft_folder, read_peft
from diffalign.sharing.peft_folder import PREFIX as PEFT_PREFIX


@dataclass(frozen=True)
class Delta:
    """The delta of an adapter: ``B A`` per layer, with the scale folded into ``B``.

    Args:
        path: The file or folder that was read.
        tensors: By peft's names, ``layer.lora_A.weight`` and ``layer.lora_B.weight``.
        about: The metadata of the file.
        folder: Whether it is a folder in peft's format.
    """

    path: Path
    tensors: dict[str, Tensor]
    about: dict[str, Any]
    folder: bool


def read_delta(path: Path) -> Delta:
    """Reads an adapter of either format. Raises ConfigError where there is none, or one with magnitudes (DoRA), whose
    deltas cannot be summed.
    """
    folder = is_peft_folder(path)
    tensors, about = read_peft(path) if folder else read_adapter(path)
    if shape_of(tensors, path).dora:
        raise ConfigError(
            f"{path} has separate magnitudes (DoRA), so its delta cannot be summed. Merge it into its base with "
            "merge_and_unload() in peft instead."
        )
    scale = about["scale"] if folder else 1.0
    scaled = {key: value.float() * (scale if ".lora_B" in key else 1.0) for key, value in tensors.items()}
    return Delta(Path(path), scaled, about, folder)


def merge_deltas(deltas: Sequence[Delta], weights: Sequence[float]) -> dict[str, Tensor]:
    """Computes the tensors of the weighted sum. Layers that an adapter lacks are filled with zeros, so that all layers
    have one rank.

    Raises:
        ConfigError: The number of weights differs; the adapters have two formats, or different bases.
    """
    if len(weights) != len(deltas) or len(deltas) < 1:
        raise ConfigError(
            f"there are {len(deltas)} adapters and {len(weights)} weights. Type --weight once for each adapter, or "
            "none for equal ones."
        )
    first = deltas[0]
    for other in deltas[1:]:
        if other.folder != first.folder:
            raise ConfigError(f"{first.path} and {other.path} are adapters of two formats, so of two kinds of models.")
        bases = [delta.about.get("base_fingerprint") for delta in (first, other)]
        if None not in bases and bases[0] != bases[1]:
            raise ConfigError(
                f"{first.path} was trained on {first.about.get('base_model')}, {other.path} on "
                f"{other.about.get('base_model')} (other weights): only adapters of one base can be merged."
            )
    names = sorted({layer for delta in deltas for layer in layers(delta.tensors)})
    ranks = [shape_of(delta.tensors, delta.path).rank for delta in deltas]
    result = {}
    for layer in names:
        down, up = f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"
        like = next(delta.tensors for delta in deltas if down in delta.tensors)
        zeros = [(_zeros(like[down], 0, rank), _zeros(like[up], 1, rank)) for rank in ranks]
        result[down] = torch.cat([d.tensors.get(down, zero) for d, (zero, _) in zip(deltas, zeros, strict=True)])
        parts = [w * d.tensors.get(up, zero) for d, w, (_, zero) in zip(deltas, weights, zeros, strict=True)]
        result[up] = torch.cat(parts, dim=1)
    return result


def write_merged(deltas: Sequence[Delta], weights: Sequence[float], output: Path) -> Path:
    """Writes the weighted sum in the format of its parts, with their names and weights; returns the file or folder."""
    from safetensors.torch import save_file

    tensors, first = merge_deltas(deltas, weights), deltas[0]
    rank = next(iter(tensors.values())).shape[0]
    parts = [{"adapter": delta.path.name, "weight": float(w)} for delta, w in zip(deltas, weights, strict=True)]
    base_facts: dict[str, Any] = {
        key: first.about[key] for key in ("base_model", "base_revision", "base_fingerprint") if key in first.about
    }
    facts: dict[str, Any] = {"version": __version__, **base_facts, "merged_from": parts}
    config: dict[str, Any] = {**first.about.get("config", {}), "r": rank, "lora_alpha": rank, "use_rslora": False}
    output = Path(output)
    if first.folder:
        config["target_modules"] = sorted(layers(tensors))
        named = {PEFT_PREFIX + key: value.contiguous() for key, value in tensors.items()}
        _write_json(output / CONFIG, config)
        _write_json(output / FACTS, facts)
        write_atomically(output / WEIGHTS, lambda path: save_file(named, path, metadata={"format": "pt"}))
        return output
    config["target_modules"] = sorted(layers(tensors))
    packed = {f"{COMPONENT}.{key}": value for key, value in config.items()}
    metadata: dict[str, str] = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(packed, sort_keys=True, default=str),
    }
    metadata |= {f"diffalign.{key}": x if isinstance(x, str) else json.dumps(x) for key, x in facts.items()}
    named = {f"{COMPONENT}.{key}": value.contiguous() for key, value in tensors.items()}
    return write_atomically(output / FILE_NAME, lambda path: save_file(named, path, metadata=metadata))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, default=str)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _zeros(like: Tensor, axis: int, rank: int) -> Tensor:
    shape = list(like.shape)
    shape[axis] = rank
    return torch.zeros(shape, dtype=like.dtype)

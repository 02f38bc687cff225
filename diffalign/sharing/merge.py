"""Merges adapters of one base into one adapter: the exact weighted sum of their deltas.

    W + sum_i w_i scale_i B_i A_i  =  W + [w_1 scale_1 B_1 | w_2 scale_2 B_2 | ...] [A_1; A_2; ...]

The *products* are summed: sums of the factors B and A would also contain products of different adapters. The rank of
the result is the sum of the ranks, and readers need no scale (alpha is the rank).

Source: the combination across domains of Qi et al. 2024 (arXiv 2406.05534), COFS-DPO.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffalign import __version__
from diffalign.errors import ConfigError
from diffalign.files.atomic import write_atomically
from diffalign.files.complete_weights import check_finite
from diffalign.sharing.adapter_file import FILE_NAME
from diffalign.sharing.adapter_state_dict import layers
from diffalign.sharing.peft_folder import CONFIG, FACTS, WEIGHTS
from diffalign.sharing.peft_folder import PREFIX as PEFT_PREFIX
from diffalign.sharing.read_adapter import read_adapter
from diffalign.sharing.shared_adapter import SharedAdapter


def read_delta(path: Path) -> SharedAdapter:
    """Reads an adapter of either format. Raises ConfigError where there is none, or one with magnitudes (DoRA), whose
    deltas cannot be summed.
    """
    adapter = read_adapter(path)
    if adapter.shape.dora:
        raise ConfigError(
            f"{path} has separate magnitudes (DoRA), so its delta cannot be summed with others. Merge it into its base"
            f" instead: diffalign merge {path} --into BASE --output FOLDER"
        )
    return adapter


def merge_deltas(deltas: Sequence[SharedAdapter], weights: Sequence[float]) -> dict[str, Tensor]:
    """Computes the tensors of the weighted sum. Layers that an adapter lacks are filled with zeros, so that all layers
    have one rank.

    Raises:
        ConfigError: The number of weights differs, or one is no number; the adapters are of two kinds of networks, of
            different bases, or of layers of different sizes.
    """
    if len(weights) != len(deltas) or len(deltas) < 1:
        raise ConfigError(
            f"there are {len(deltas)} adapters and {len(weights)} weights. Type --weight once for each adapter, or "
            "none for equal ones."
        )
    if not all(abs(weight) < 1e9 for weight in weights):
        raise ConfigError(f"a weight must be a number, got {', '.join(f'{w:g}' for w in weights)}. Type: --weight 0.5")
    first = deltas[0]
    for other in deltas[1:]:
        if other.component != first.component:
            kinds = [f"{d.path} of {d.component or 'a language model'}" for d in (first, other)]
            raise ConfigError(f"{' and '.join(kinds)} are adapters of two kinds of networks; merge those of one base.")
        bases = [delta.about.get("base_fingerprint") for delta in (first, other)]
        if None not in bases and bases[0] != bases[1]:
            raise ConfigError(
                f"{first.path} was trained on {first.about.get('base_model')}, {other.path} on "
                f"{other.about.get('base_model')} (other weights): only adapters of one base can be merged."
            )
    folded = [delta.folded() for delta in deltas]
    _check_sizes(deltas, folded)
    names = sorted({layer for delta in deltas for layer in delta.shape.targets})
    ranks = [delta.shape.rank for delta in deltas]
    result = {}
    for layer in names:
        down, up = f"{layer}.lora_A.weight", f"{layer}.lora_B.weight"
        like = next(tensors for tensors in folded if down in tensors)
        zeros = [(_zeros(like[down], 0, rank), _zeros(like[up], 1, rank)) for rank in ranks]
        result[down] = torch.cat([part.get(down, zero) for part, (zero, _) in zip(folded, zeros, strict=True)])
        parts = [w * part.get(up, zero) for part, w, (_, zero) in zip(folded, weights, zeros, strict=True)]
        result[up] = torch.cat(parts, dim=1)
    check_finite(result, "the merged adapter")
    return result


def write_merged(deltas: Sequence[SharedAdapter], weights: Sequence[float], output: Path) -> Path:
    """Writes the weighted sum in the format of its parts, with their names and weights; returns the file or folder."""
    from safetensors.torch import save_file

    tensors, first = merge_deltas(deltas, weights), deltas[0]
    rank = next(iter(tensors.values())).shape[0]
    parts = [{"adapter": delta.path.name, "weight": float(w)} for delta, w in zip(deltas, weights, strict=True)]
    base_facts: dict[str, Any] = {
        key: first.about[key] for key in ("base_model", "base_revision", "base_fingerprint") if key in first.about
    }
    facts: dict[str, Any] = {"version": __version__, **base_facts, "merged_from": parts}
    config: dict[str, Any] = {**first.config, **_settings(rank, layers(tensors))}
    output = Path(output)
    if not first.component:
        named = {PEFT_PREFIX + key: value.contiguous() for key, value in tensors.items()}
        _write_json(output / CONFIG, config)
        _write_json(output / FACTS, facts)
        write_atomically(output / WEIGHTS, lambda path: save_file(named, path, metadata={"format": "pt"}))
        return output
    packed = {f"{first.component}.{key}": value for key, value in config.items()}
    metadata: dict[str, str] = {
        "format": "pt",
        "lora_adapter_metadata": json.dumps(packed, sort_keys=True, default=str),
    }
    metadata |= {f"diffalign.{key}": x if isinstance(x, str) else json.dumps(x) for key, x in facts.items()}
    named = {f"{first.component}.{key}": value.contiguous() for key, value in tensors.items()}
    return write_atomically(output / FILE_NAME, lambda path: save_file(named, path, metadata=metadata))


def _settings(rank: int, names: set[str]) -> dict[str, Any]:
    """Returns peft's settings of a merge: the tensors hold the strengths, and every layer is stated by its name."""
    usual = {"use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}, "layers_to_transform": None}
    start = {"layers_pattern": None, "exclude_modules": None, "init_lora_weights": True}
    return {**usual, **start, "r": rank, "lora_alpha": rank, "target_modules": sorted(names)}


def _check_sizes(deltas: Sequence[SharedAdapter], folded: Sequence[dict[str, Tensor]]) -> None:
    """Raises ConfigError where two adapters have a layer of different sizes: their bases differ."""
    sizes: dict[str, tuple[tuple[int, ...], SharedAdapter]] = {}
    for delta, tensors in zip(deltas, folded, strict=True):
        for key, value in tensors.items():
            size = tuple(n for axis, n in enumerate(value.shape) if axis != (1 if ".lora_B" in key else 0))
            known, first = sizes.setdefault(key, (size, delta))
            if known != size:
                raise ConfigError(
                    f"{first.path} and {delta.path} have other sizes at {key.split('.lora_')[0]}: only adapters of one"
                    " base can be merged."
                )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, default=str)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _zeros(like: Tensor, axis: int, rank: int) -> Tensor:
    shape = list(like.shape)
    shape[axis] = rank
    return torch.zeros(shape, dtype=like.dtype)

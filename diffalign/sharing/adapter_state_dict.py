"""Extracts an adapter's tensors from a network, and refuses those of another base.

Names are peft's: ``layer.lora_A.weight`` ``(rank, in)``, ``layer.lora_B.weight`` ``(out, rank)``, and for DoRA
``layer.lora_magnitude_vector`` ``(out,)``. A delta is ``scale B A``; each file format either stores the scale next to
the tensors or folds it into ``B``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from diffalign.errors import ConfigError

SUPPORTED_SUFFIXES = (".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector")


@dataclass(frozen=True)
class AdapterShape:
    """The settings of an adapter into which a file can be loaded.

    Args:
        rank: Rank of the delta.
        targets: Full names of the layers.
        dora: Whether magnitudes are learnt separately (DoRA).
    """

    rank: int
    targets: tuple[str, ...]
    dora: bool


def adapter_tensors(module: nn.Module, *, folded: bool) -> dict[str, Tensor]:
    """Returns the adapter named ``default`` as float32 on the CPU; with ``folded``, the scale is folded into B."""
    from peft.utils import get_peft_model_state_dict

    scales = layer_scales(module) if folded else {}
    tensors = {}
    # "auto" would query the hub for the size of the vocabulary
    for key, value in get_peft_model_state_dict(module, save_embedding_layers=False).items():
        value = value.detach().float().cpu()
        layer, _, tail = key.partition(".lora_B")
        tensors[key] = (value * scales[layer] if tail and folded else value).contiguous().clone()
    return tensors


def layer_scales(module: nn.Module) -> dict[str, float]:
    """Returns the factor on ``B A`` of each adapted layer."""
    from peft.tuners.lora import LoraLayer

    return {name: layer.scaling["default"] for name, layer in module.named_modules() if isinstance(layer, LoraLayer)}


def layers(tensors: Mapping[str, Tensor]) -> set[str]:
    """Returns the full names of the layers that have a delta."""
    return {key.split(".lora_")[0] for key in tensors}


def shape_of(tensors: Mapping[str, Tensor], path: Path) -> AdapterShape:
    """Returns rank and layers. Raises ConfigError where the ranks differ, or where some tensors are not LoRA's."""
    unsupported = [key for key in tensors if not key.endswith(SUPPORTED_SUFFIXES)]
    if unsupported:
        raise ConfigError(
            f"{path} holds more than a LoRA on linear and convolution layers, in {len(unsupported)} of its"
            f" {len(tensors)} tensors, first {unsupported[0]}. Merge it into its base with merge_and_unload() in peft,"
            " and give the merged model as model.path."
        )
    ranks = {value.shape[0] if value.ndim else 0 for key, value in tensors.items() if ".lora_A." in key}
    if not ranks:
        raise ConfigError(f"{path} holds no adapter: it has no tensor of a LoRA. Copy or save it again.")
    if len(ranks) != 1:
        raise ConfigError(f"{path} has layers of ranks {sorted(ranks)}; adapters of one rank can be loaded.")
    return AdapterShape(ranks.pop(), tuple(sorted(layers(tensors))), any("lora_magnitude" in key for key in tensors))


def own_base(about: Mapping[str, Any]) -> str:
    """Returns the sentence that says which model an adapter with these facts needs."""
    if "frames" not in about:
        return "Use it with its own base."
    return "Use it with its own base, and with its motion adapter where it had one: --model-setting motion=ADAPTER."


def check_base(about: Mapping[str, Any], base: tuple[str, str] | None, path: Path) -> None:
    """Raises ConfigError when a file was made for other weights than those of ``base``, its fingerprint and name. None
    skips the check.
    """
    made_for = about.get("base_fingerprint")
    if base is not None and made_for is not None and made_for != base[0]:
        raise ConfigError(
            f"the adapter {path} was trained on {str(about.get('base_model', 'another base'))[:200]} (weights"
            f" {str(made_for)[:8]}),"
            f" but this model is {base[1]} (weights {base[0][:8]}). {own_base(about)} In"
            " Python load_adapter(..., any_base=True) skips this check."
        )

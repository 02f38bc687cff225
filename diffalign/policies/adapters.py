"""Adapters: low-rank deltas on frozen base weights (LoRA, Hu et al. 2021), and switching them off.

    W' = W + scale B A,      scale = alpha / rank   (rsLoRA: alpha / sqrt(rank))

``B`` starts at zero, so a fresh adapter changes nothing and the policy equals its reference exactly. There is no
setting for dropout: policy and reference would draw different masks, which biases the margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from diffalign.errors import ConfigError, near_miss

LayerNames = Mapping[str, tuple[tuple[str, ...], ...]]
"""Preset to its parts. A part lists the names of its layers in the architectures of a kind of model, in the form in
which `find_targets` takes names."""

ATTENTION = (
    *("q_proj", "k_proj", "v_proj", "o_proj", "qkv_proj", "Wqkv", "query_key_value"),
    *("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj"),  # latent attention (DeepSeek)
    *("c_attn", "attn.c_proj", "attn.out_proj", "attention.out_proj", "self_attn.out_proj"),
    *("attention.dense", "self_attention.dense", "self_attn.dense"),
)
MLP = (
    *("gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2", "fc_in", "fc_out"),
    *("mlp.c_fc", "mlp.c_proj", "dense_h_to_4h", "dense_4h_to_h"),
)
LANGUAGE_LAYERS: LayerNames = {"attention": (ATTENTION,), "attention+mlp": (ATTENTION, MLP)}
"""Layers of language models. A network has some of the names; those of denoisers are in their families' rows."""
LINEAR, EVERYTHING = "all-linear", "all-linear+conv"

CONVOLUTIONS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TORCH_LAYERS: tuple[type[nn.Module], ...] = (nn.Linear, *CONVOLUTIONS)


class AdapterConfig(BaseModel):
    """A low-rank adapter on the network.

    Args:
        rank: Width of the delta, >= 1. More rank, more freedom and a larger file.
        alpha: Strength; the delta is scaled by alpha / rank. None means alpha = rank, scale 1.
        targets: ``"attention"`` (queries, keys, values, outputs), ``"attention+mlp"``, ``"all-linear"`` (without a
            language model's head), ``"all-linear+conv"``, or names such as ``("to_q", "conv1")``, which select every
            layer whose path ends with one of them; ``"motion_modules...to_q"`` selects those of them below a part of
            the network. Models for clips have ``"motion"``, ``"motion+mlp"`` (the layers that join frames),
            ``"spatial"`` (the others) and, of convolutions, ``"temp-conv"``, where the model has such layers.
        dora: Train magnitudes and directions separately (DoRA, Liu et al. 2024). Fewer programs load such a file.
        rslora: Scale by alpha / sqrt(rank) (rsLoRA, Kalajdzievski 2023).
        init: ``"gaussian"`` draws A from N(0, 1 / rank), ``"default"`` Kaiming-uniform. B is zero in both.
        seed: Seed of A.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rank: int = Field(default=16, ge=1)
    alpha: float | None = Field(default=None, gt=0)
    targets: str | tuple[str, ...] = "attention"
    dora: bool = False
    rslora: bool = False
    init: Literal["gaussian", "default"] = "gaussian"
    seed: int = 0

    @property
    def strength(self) -> float:
        """Returns alpha, or its default."""
        return float(self.rank if self.alpha is None else self.alpha)

    @property
    def scale(self) -> float:
        """Returns the factor of ``B A``."""
        return self.strength / (math.sqrt(self.rank) if self.rslora else self.rank)

    def describe(self) -> str:
        """Returns one line for a header."""
        kind = ("DoRA" if self.dora else "LoRA") + (", rank-stabilised" if self.rslora else "")
        targets = self.targets if isinstance(self.targets, str) else ", ".join(self.targets)
        return f"{kind} rank {self.rank}, alpha {self.strength:g}, on {targets}"


def find_targets(
    module: nn.Module,
    targets: str | tuple[str, ...],
    presets: LayerNames = LANGUAGE_LAYERS,
    unadaptable: tuple[str, ...] = (),
) -> list[str]:
    """Returns the full names of the layers that ``targets`` selects in ``module``, in the module's order.

    A preset selects those of its names that the network has, and never the head of a language model. In a list, each
    name must match a layer. A name is the end of a path, ``"to_q"``, or a segment of it and its end,
    ``"motion_modules...to_q"``. ``unadaptable`` are names of layers that no preset selects.

    Raises:
        ConfigError: An unknown preset, a preset without a layer in this network, a name that no layer's path ends with,
            or one that selects a layer that cannot be adapted.
    """
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, _linear() + CONVOLUTIONS)}
    if isinstance(targets, str):
        found = _preset(module, layers, targets, presets)
        return [name for name in found if not any(_ends_with(name, target) for target in unadaptable)]
    selected = [name for name in layers if any(_ends_with(name, target) for target in targets)]
    unmatched = [target for target in targets if not any(_ends_with(name, target) for name in selected)]
    if unmatched:
        tails = _tails(layers)
        raise ConfigError(
            f"adapter.targets names {', '.join(map(repr, unmatched))}, but no linear or convolution layer of"
            f" {type(module).__name__} ends with that.{near_miss(unmatched[0], tails)} For attention layers only, leave"
            " targets out."
        )
    refused = [name for name in selected if any(_ends_with(name, target) for target in unadaptable)]
    if refused:
        others = _allowed_names(targets, selected, refused)
        advice = f"--set model.adapter.targets=[{','.join(others)}]   or " if others else ""
        raise ConfigError(
            f"adapter.targets selects {refused[0]}, but {type(module).__name__} calls this layer in a way that no"
            f" adapter on it takes. Type: {advice}--set model.adapter.targets={LINEAR}, which leaves such layers out"
        )
    return selected


def _allowed_names(targets: tuple[str, ...], selected: list[str], refused: list[str]) -> list[str]:
    """Returns the targets that select no refused layer, and for others names of the same layers elsewhere."""
    names: dict[str, None] = {}
    for target in targets:
        mine = [name for name in selected if _ends_with(name, target)]
        if not set(mine) & set(refused):
            names[target] = None
            continue
        tail = target.rpartition("...")[2]
        for name in (name for name in mine if name not in refused):
            parts = [part for part in name.removesuffix(tail).split(".") if part and not part.isdigit()]
            names[f"{parts[-1]}...{tail}" if parts else name] = None
    return list(names)


def _preset(module: nn.Module, layers: dict[str, nn.Module], preset: str, presets: LayerNames) -> list[str]:
    known = [*presets, LINEAR, EVERYTHING]
    if preset not in known:
        raise ConfigError(
            f"adapter.targets is {preset!r}, which is not a preset. Known: {', '.join(known)}, or a list of layer"
            f" names such as [to_q, to_v].{near_miss(preset, known)}"
        )
    find_head: Any = getattr(module, "get_output_embeddings", lambda: None)
    head = find_head()
    body = {name: layer for name, layer in layers.items() if layer is not head}
    if preset not in presets:
        kinds = _linear() + (CONVOLUTIONS if preset == EVERYTHING else ())
        return [name for name, layer in body.items() if isinstance(layer, kinds)]
    selected = set()
    for part, names in zip(preset.split("+"), presets[preset], strict=True):
        matches = {name for name in body if any(_ends_with(name, target) for target in names)}
        if not matches:
            raise ConfigError(
                f"adapter.targets is {preset!r}, but {type(module).__name__} has no linear layer with a known name of"
                f" {part}; its layers are called {', '.join(_tails(body, 1)[:12])}. Name some of these, as in"
                f" targets: [{', '.join(_tails(body, 1)[:2])}], or take {LINEAR}."
            )
        selected |= matches
    return [name for name in body if name in selected]


def add_adapter(
    module: nn.Module,
    config: AdapterConfig,
    presets: LayerNames = LANGUAGE_LAYERS,
    unadaptable: tuple[str, ...] = (),
) -> None:
    """Freezes ``module`` and puts a fresh adapter on it, in float32 whatever the base's dtype.

    ``presets`` and ``unadaptable`` are those of :func:`find_targets`.
    """
    from peft import LoraConfig, inject_adapter_in_model

    names = find_targets(module, config.targets, presets, unadaptable)
    module.requires_grad_(False)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.strength,  # type: ignore[arg-type]
        target_modules=names,
        lora_dropout=0.0,
        use_dora=config.dora,
        use_rslora=config.rslora,
        init_lora_weights="gaussian" if config.init == "gaussian" else True,
        # GPT-2 keeps its weights transposed
        fan_in_fan_out=not all(isinstance(module.get_submodule(name), TORCH_LAYERS) for name in names),
        task_type="CAUSAL_LM" if hasattr(module, "get_output_embeddings") else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        # Not the model's own add_adapter: a release of transformers may ask for a peft that is not out yet.
        inject_adapter_in_model(lora, module, "default")
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


@contextmanager
def adapter_off(module: nn.Module) -> Iterator[None]:
    """Computes with the base weights only within the block: the reference of an adapter, without extra memory."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


@torch.no_grad()
def merge_adapter(module: nn.Module) -> None:
    """Adds the adapter's delta to the weights, and takes its layers out of the network."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(module.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, layer.get_base_layer())
    module.__dict__.pop("peft_config", None)


def _ends_with(name: str, target: str) -> bool:
    """Whether a path ends with ``tail``, for ``segment...tail`` below a segment that is called exactly so."""
    segment, below, tail = target.rpartition("...")
    if below and segment not in name.removesuffix(tail).split("."):
        return False
    return name == tail or name.endswith("." + tail)


def _linear() -> tuple[type[nn.Module], ...]:
    """Returns the types of linear layers, with ``Conv1D``, the name that transformers gives those of GPT-2."""
    from transformers.pytorch_utils import Conv1D

    return nn.Linear, Conv1D


def _tails(names: Iterable[str], most: int = 2) -> list[str]:
    """Returns the last parts of layers' names, without plain numbers."""
    tails = {".".join(name.split(".")[-n:]) for name in names for n in range(1, most + 1)}
    return sorted(tail for tail in tails if not tail.isdigit())

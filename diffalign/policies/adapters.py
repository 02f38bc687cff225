"""Adapters: low-rank deltas on frozen base weights (LoRA, Hu et al. 2021), and switching them off.

    W' = W + scale B A,      scale = alpha / rank   (rsLoRA: alpha / sqrt(rank))

``B`` starts at zero, so a fresh adapter changes nothing and the policy equals its reference exactly. There is no
dropout to set: it would be drawn anew for policy and reference, and bias the margin.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from diffalign.errors import ConfigError, near_miss

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MLP = ("ff.net.0.proj", "ff.net.2")
PRESETS = {"attention": ATTENTION, "attention+mlp": ATTENTION + MLP}
EVERYTHING = "all-linear+conv"


class AdapterConfig(BaseModel):
    """A low-rank adapter on the denoiser.

    Args:
        rank: Width of the delta, >= 1. More rank, more freedom and a larger file.
        alpha: Strength; the delta is scaled by alpha / rank. None means alpha = rank, scale 1.
        targets: ``"attention"`` (queries, keys, values, outputs), ``"attention+mlp"``, ``"all-linear+conv"``, or names
            of layers (``("to_q", "conv1")``: a layer is meant when its path ends so).
        dora: Learn magnitudes apart from directions (DoRA, Liu et al. 2024). Such a file loads in diffusers only.
        rslora: Scale by alpha / sqrt(rank) (rsLoRA, Kalajdzievski 2023).
        init: ``"gaussian"`` draws A from N(0, 1 / rank), ``"default"`` Kaiming-uniform. B is zero in both.
        seed: Seed of A.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: float | None = Field(default=None, gt=0)
    targets: str | tuple[str, ...] = "attention"
    dora: bool = False
    rslora: bool = False
    init: Literal["gaussian", "default"] = "gaussian"
    seed: int = 0

    @property
    def strength(self) -> float:
        """Alpha, with its default filled in."""
        return float(self.rank if self.alpha is None else self.alpha)

    @property
    def scale(self) -> float:
        """What ``B A`` is multiplied by."""
        return self.strength / (math.sqrt(self.rank) if self.rslora else self.rank)

    def describe(self) -> str:
        """One line for a header."""
        kind = ("DoRA" if self.dora else "LoRA") + (", rank-stabilised" if self.rslora else "")
        targets = self.targets if isinstance(self.targets, str) else ", ".join(self.targets)
        return f"{kind} rank {self.rank}, alpha {self.strength:g}, on {targets}"


def find_targets(module: nn.Module, targets: str | tuple[str, ...]) -> list[str]:
    """Full names of the layers that ``targets`` means in ``module``, in the module's order.

    Raises:
        ConfigError: for a preset nobody knows, or a name that no layer's path ends with.
    """
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layers = [name for name, layer in module.named_modules() if isinstance(layer, kinds)]
    if targets == EVERYTHING:
        return layers
    if isinstance(targets, str):
        known = [*PRESETS, EVERYTHING]
        if targets not in PRESETS:
            raise ConfigError(
                f"adapter.targets is {targets!r}, which is no preset; known are {', '.join(known)}, or a list of layer"
                f" names such as [to_q, to_v].{near_miss(targets, known)}"
            )
        targets = PRESETS[targets]
    found = [name for name in layers if any(_ends_with(name, target) for target in targets)]
    idle = [target for target in targets if not any(_ends_with(name, target) for name in found)]
    if idle:
        tails = sorted({".".join(name.split(".")[-n:]) for name in layers for n in (1, 2)})
        raise ConfigError(
            f"adapter.targets names {', '.join(map(repr, idle))}, but no linear or convolution layer of"
            f" {type(module).__name__} ends so.{near_miss(idle[0], tails)} For attention alone leave targets out."
        )
    return found


def add_adapter(module: nn.Module, config: AdapterConfig) -> None:
    """Freezes ``module`` and puts a fresh adapter on it, in float32 whatever the base's dtype."""
    from peft import LoraConfig

    names = find_targets(module, config.targets)
    module.requires_grad_(False)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.strength,  # type: ignore[arg-type]
        target_modules=names,
        lora_dropout=0.0,
        use_dora=config.dora,
        use_rslora=config.rslora,
        init_lora_weights="gaussian" if config.init == "gaussian" else True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        module.add_adapter(lora)  # type: ignore[operator]
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


@contextmanager
def adapter_off(module: nn.Module) -> Iterator[None]:
    """Within it the module computes with its base weights alone: the reference of an adapter, at no memory."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [layer for layer in module.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def _ends_with(name: str, target: str) -> bool:
    return name == target or name.endswith("." + target)

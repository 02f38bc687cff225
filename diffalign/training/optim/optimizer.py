"""Optimizers and learning-rate schedules.

The rate is a function of the step's number, written into the optimizer before each step. There is no scheduler object:
nothing has to be saved, and nothing counts a step once per process.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from diffalign.errors import ConfigError
from diffalign.training.recipe.schema import Train


def learning_rate(train: Train, step: int) -> float:
    """Returns the rate of optimizer step ``step``, counted from 0.

    base = learning_rate * (batch_size if scale_lr else 1)
    warm-up: base (step + 1) / warmup_steps while step < warmup_steps
    then: constant; linear to 0 or half a cosine to 0 at ``steps``
    """
    base = train.learning_rate * (train.batch_size if train.scale_lr else 1)
    warm = 0 if train.schedule == "constant" else train.warmup_steps
    if step < warm:
        return base * (step + 1) / warm
    if train.schedule in ("constant", "constant_with_warmup"):
        return base
    share = (step - warm) / max(1, train.steps - warm)
    return base * (1.0 - share if train.schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * share)))


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Writes the rate into every parameter group."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def make_optimizer(train: Train, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Returns the optimizer that a recipe names."""
    return OPTIMIZERS[train.optimizer](train, list(parameters))


def state_bytes(name: str, parameters: Iterable[nn.Parameter]) -> int:
    """Returns the size of an optimizer's state after its first step, in bytes, without its counters.

    AdamW keeps two float32 moments per number, in 8 bits one byte each. Adafactor keeps one second moment per row and
    one per column of a matrix instead of one per number; of a convolution that is per row and column of each kernel,
    two thirds of a 3 x 3 kernel's numbers.
    """
    return sum(round(_STATE_BYTES[name](parameter)) for parameter in parameters)


def _factored(parameter: nn.Parameter) -> float:
    if parameter.ndim < 2:
        return 4 * parameter.numel()
    return 4 * (parameter.numel() / parameter.shape[-1] + parameter.numel() / parameter.shape[-2])


_STATE_BYTES: dict[str, Callable[[nn.Parameter], float]] = {
    "adamw": lambda parameter: 8 * parameter.numel(),
    "adafactor": _factored,
    "adamw8bit": lambda parameter: 2 * parameter.numel(),
    "sgd": lambda parameter: 0,
}


def _adamw(train: Train, parameters: list[nn.Parameter]) -> Optimizer:
    fused = all(p.device.type in ("cuda", "cpu") and p.dtype.is_floating_point for p in parameters)
    return torch.optim.AdamW(
        parameters, lr=train.learning_rate, betas=train.betas, weight_decay=train.weight_decay, fused=fused
    )


def _adafactor(train: Train, parameters: list[nn.Parameter]) -> Optimizer:
    # The published runs: no relative step, no scaling by the parameter's size; the rate is the recipe's.
    from transformers.optimization import Adafactor

    fixed = {"scale_parameter": False, "relative_step": False, "warmup_init": False, "clip_threshold": 1.0}
    return Adafactor(parameters, lr=train.learning_rate, weight_decay=train.weight_decay, **fixed)


def _adamw8bit(train: Train, parameters: list[nn.Parameter]) -> Optimizer:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(
            "train.optimizer: adamw8bit needs bitsandbytes, which is not installed. "
            "Type: pip install 'diffalign[lowbit]'   or: --set train.optimizer=adamw"
        )
    from bitsandbytes.optim import AdamW8bit

    return AdamW8bit(parameters, lr=train.learning_rate, betas=train.betas, weight_decay=train.weight_decay)


def _sgd(train: Train, parameters: list[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)


OPTIMIZERS: dict[str, Callable[[Train, list[nn.Parameter]], Optimizer]] = {
    "adamw": _adamw,
    "adafactor": _adafactor,
    "adamw8bit": _adamw8bit,
    "sgd": _sgd,
}

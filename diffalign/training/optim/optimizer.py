"""Optimizers and learning-rate schedules.

The rate is a function of the step's number, written into the optimizer before each step. There is no scheduler object:
nothing has to be saved, and nothing counts a step once per process.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.optim import Optimizer

from diffalign.devices.bitsandbytes_library import require_bitsandbytes
from diffalign.errors import ConfigError
from diffalign.printable import one_line
from diffalign.training.recipe.schema import Train

LOW_BIT = ("adamw8bit", "paged_adamw8bit")
"""Optimizers of bitsandbytes."""
SMALLEST_8BIT, BLOCK_8BIT, PAGED = 4096, 256, 100_000
"""Numbers of a tensor from which its moments are kept in 8 bits; that share a scale; from which they are paged."""


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


def check_optimizer(train: Train, device: torch.device) -> None:
    """Tries a step of the recipe's optimizer, so that a run ends before its model is opened and not after.

    Raises:
        ConfigError: Its library is missing, or it does not run on ``device``.
    """
    if train.optimizer not in LOW_BIT:
        return
    if train.optimizer == "paged_adamw8bit" and device.type != "cuda":
        raise ConfigError(
            "train.optimizer 'paged_adamw8bit' moves its state between a CUDA device and the machine's memory, and "
            f"this run is on {device.type}. Type: --set train.optimizer=adamw8bit"
        )
    parameter = nn.Parameter(torch.zeros(PAGED, device=device))
    optimizer = make_optimizer(train, [parameter])
    parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except Exception as error:  # whatever a library raises that has no kernel for a device
        raise ConfigError(
            f"train.optimizer '{train.optimizer}' does not run on {device.type} with the installed bitsandbytes: "
            f"{one_line(str(error), 160)}. Type: pip install --upgrade bitsandbytes   or: --set train.optimizer=adamw"
        ) from error


def state_bytes(name: str, parameters: Iterable[nn.Parameter]) -> int:
    """Returns the size of an optimizer's state on the device after its first step, in bytes, without counters.

    AdamW keeps two float32 moments per number; in 8 bits one byte each, and a float32 scale for every 256 numbers, but
    tensors of fewer than 4,096 numbers stay float32. Paged moments of tensors of 100,000 numbers and more may be away.
    Adafactor keeps one second moment per row and one per column of a matrix instead of one per number; of a convolution
    that is per row and column of each kernel, two thirds of a 3 x 3 kernel's numbers.
    """
    return sum(round(_STATE_BYTES[name](parameter)) for parameter in parameters)


def _factored(parameter: nn.Parameter) -> float:
    if parameter.ndim < 2:
        return 4 * parameter.numel()
    return 4 * (parameter.numel() / parameter.shape[-1] + parameter.numel() / parameter.shape[-2])


def _two_moments(parameter: nn.Parameter, paged: bool = False) -> float:
    count = parameter.numel()
    if count < SMALLEST_8BIT:
        return 8 * count
    scales = 8 * -(-count // BLOCK_8BIT)
    return scales if paged and count >= PAGED else scales + 2 * count


_STATE_BYTES: dict[str, Callable[[nn.Parameter], float]] = {
    "adamw": lambda parameter: 8 * parameter.numel(),
    "adafactor": _factored,
    "adamw8bit": _two_moments,
    "paged_adamw8bit": lambda parameter: _two_moments(parameter, paged=True),
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
    require_bitsandbytes(f"train.optimizer '{train.optimizer}'", "--set train.optimizer=adamw")
    from bitsandbytes.optim import AdamW8bit, PagedAdamW8bit

    kind = PagedAdamW8bit if train.optimizer == "paged_adamw8bit" else AdamW8bit
    settings = {"lr": train.learning_rate, "betas": train.betas, "weight_decay": train.weight_decay}
    return kind(parameters, **settings)  # type: ignore[no-any-return]


def _sgd(train: Train, parameters: list[nn.Parameter]) -> Optimizer:
    return torch.optim.SGD(parameters, lr=train.learning_rate, weight_decay=train.weight_decay)


OPTIMIZERS: dict[str, Callable[[Train, list[nn.Parameter]], Optimizer]] = {
    "adamw": _adamw,
    "adafactor": _adafactor,
    "adamw8bit": _adamw8bit,
    "paged_adamw8bit": _adamw8bit,
    "sgd": _sgd,
}

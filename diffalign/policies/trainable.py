"""The weights that train: what the optimizer steps, what a checkpoint holds, and how they are put back."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diffalign.errors import ConfigError, RunError
from diffalign.policies.config import BaseModelConfig
from diffalign.policies.second_adapter import SecondAdapter


class Trainable:
    """The parameters of a network that require a gradient, by name.

    Args:
        module: The bare network.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = {name: value for name, value in module.named_parameters() if value.requires_grad}
        self.second: SecondAdapter | None = None

    @property
    def everything(self) -> dict[str, nn.Parameter]:
        """The network's own parameters, and those of the second set where there is one."""
        return {**self.parameters, **(self.second.parameters if self.second else {})}

    def add_second_adapter(self, config: BaseModelConfig) -> SecondAdapter:
        """Adds a second set, equal to the first as it stands now. Raises ConfigError where the two cannot be told
        apart: every weight trains, or activations are computed twice."""
        if config.adapter is None or config.gradient_checkpointing:
            raise ConfigError(
                "a second adapter needs an adapter to stand beside, and activations that are kept. Type: --set "
                "model.adapter.rank=16 --set model.gradient_checkpointing=false"
            )
        self.second = SecondAdapter(self.parameters)
        return self.second

    @property
    def count(self) -> int:
        """How many numbers train."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def state(self) -> dict[str, Tensor]:
        """Copies on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.everything.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Puts tensors back. Raises RunError when names or shapes are not this network's."""
        want = {name: tuple(value.shape) for name, value in self.everything.items()}
        have = {name: tuple(value.shape) for name, value in state.items()}
        if want != have:
            odd = sorted(set(want.items()) ^ set(have.items()))[0]
            raise RunError(
                f"the checkpoint holds other tensors than this model trains (first difference: {odd[0]} {odd[1]})."
                " Resume with the adapter settings that the run was started with."
            )
        everything = self.everything
        for name, value in state.items():
            everything[name].copy_(value)

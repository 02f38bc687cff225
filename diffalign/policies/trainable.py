"""The weights that train: parameters of the optimizer, tensors of a checkpoint."""

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
        """Returns the network's own parameters, and those of the second set if there is one."""
        return {**self.parameters, **(self.second.parameters if self.second else {})}

    def add_second_adapter(self, config: BaseModelConfig) -> SecondAdapter:
        """Adds a second set, a copy of the first. Raises ConfigError if every weight trains, or if activations are
        checkpointed: the backward pass would recompute them with the other set.
        """
        if config.adapter is None or config.gradient_checkpointing:
            raise ConfigError(
                "a second adapter needs a first one, and activations that are not checkpointed. Type: --set "
                "model.adapter.rank=16 --set model.gradient_checkpointing=false"
            )
        self.second = SecondAdapter(self.parameters)
        return self.second

    @property
    def count(self) -> int:
        """Returns the number of trained parameters."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def state(self) -> dict[str, Tensor]:
        """Returns copies of all tensors on the CPU."""
        return {name: value.detach().to("cpu", copy=True) for name, value in self.everything.items()}

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restores tensors. Raises RunError if names or shapes are not this network's."""
        expected = {name: tuple(value.shape) for name, value in self.everything.items()}
        given = {name: tuple(value.shape) for name, value in state.items()}
        if expected != given:
            name, shape = sorted(set(expected.items()) ^ set(given.items()))[0]
            raise RunError(
                f"the checkpoint holds other tensors than this model trains (first difference: {name} {shape})."
                " Resume with the adapter settings that the run was started with."
            )
        everything = self.everything
        for name, value in state.items():
            everything[name].copy_(value)

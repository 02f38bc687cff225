"""An exponential moving average of the trained parameters, kept in float32.

    shadow <- d shadow + (1 - d) parameter,      d = min(decay, (1 + n) / (10 + n)) after n updates

The warm-up of d lets the first, random steps fade; it depends only on n, so a resumed run repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """The average; it starts as a copy of the parameters.

    Args:
        parameters: The parameters to average, by name.
        decay: Upper limit of d, in [0, 1). At 0.999 it averages over about a thousand updates.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.updates = 0
        self.shadow = {name: parameter.detach().float().clone() for name, parameter in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the present parameters."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        targets = [self.parameters[name].detach().float() for name in self.shadow]
        torch._foreach_lerp_(list(self.shadow.values()), targets, 1.0 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Within this block the model has the average as its weights; afterwards the trained parameters, to the bit."""
        trained = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._write(self.shadow)
        try:
            yield
        finally:
            self._write(trained)

    def commit(self) -> None:
        """Makes the average the model's weights, for good."""
        self._write(self.shadow)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])

    def state(self) -> dict[str, Tensor]:
        """Returns the average, for a checkpoint."""
        return self.shadow

    def load_state(self, state: Mapping[str, Tensor], updates: int) -> None:
        """Restores the average of a checkpoint."""
        self.updates = int(updates)
        for name, tensor in self.shadow.items():
            tensor.copy_(state[name])

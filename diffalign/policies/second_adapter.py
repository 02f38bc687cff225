"""A second set of trained weights on one base: another adapter, which trains beside the first and is asked the same.

Both sets share the frozen base, so the second costs the bytes of an adapter and one forward pass. Gradients of a
question to one set reach that set alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

PREFIX = "second."
"""What the second set's tensors are called, before the name of the first set's."""


class SecondAdapter:
    """The second set.

    Args:
        trainable: The first set, by name in the network. The second starts where it stands.
    """

    def __init__(self, trainable: Mapping[str, nn.Parameter]) -> None:
        self._first = dict(trainable)
        self._own = {name: nn.Parameter(value.detach().clone()) for name, value in trainable.items()}
        self.parameters = {PREFIX + name: value for name, value in self._own.items()}

    def network(self, module: nn.Module) -> Callable[..., Any]:
        """The network as a function that computes with the second set, with gradient. ``module`` is the bare one."""
        own: dict[str, Any] = dict(self._own)
        return lambda *args, **kwargs: functional_call(module, own, args, kwargs)

    @contextmanager
    def activated(self) -> Iterator[None]:
        """Within the block the network's own tensors are the second set's; afterwards what they were, to the bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def commit(self) -> None:
        """The network's own tensors are the second set's values from now on."""
        for name, parameter in self._first.items():
            parameter.copy_(self._own[name])

    def _exchange(self) -> None:
        for name, parameter in self._first.items():
            parameter.data, self._own[name].data = self._own[name].data, parameter.data

"""A second set of trained weights on one base: another adapter, trained next to the first on the same batches.

Both sets share the frozen base, so the second costs the bytes of an adapter and one forward pass. A pass with one set
has gradients for that set only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

PREFIX = "second."
"""Prefix of the second set's tensor names, before the name of the first set's tensor."""


class SecondAdapter:
    """The second set.

    Args:
        trainable: The first set, by name in the network. The second starts as a copy of it.
    """

    def __init__(self, trainable: Mapping[str, nn.Parameter]) -> None:
        self._first = dict(trainable)
        self._own = {name: nn.Parameter(value.detach().clone()) for name, value in trainable.items()}
        self.parameters = {PREFIX + name: value for name, value in self._own.items()}

    def network(self, module: nn.Module) -> Callable[..., Any]:
        """Returns a function that computes ``module``, the unwrapped network, with the second set, with gradient."""
        own: dict[str, Any] = dict(self._own)
        return lambda *args, **kwargs: functional_call(module, own, args, kwargs)

    @contextmanager
    def activated(self) -> Iterator[None]:
        """Puts the second set into the network within the block, and restores the network's own tensors exactly."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def commit(self) -> None:
        """Copies the second set's values to the network's own tensors."""
        for name, parameter in self._first.items():
            parameter.copy_(self._own[name])

    def _swap(self) -> None:
        for name, parameter in self._first.items():
            parameter.data, self._own[name].data = self._own[name].data, parameter.data

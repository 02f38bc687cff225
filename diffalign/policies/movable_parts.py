"""The parts of a policy that move between its device and host memory: the network that trains, and its reference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from diffalign.devices.movable import Movable
from diffalign.policies.references import EarlierCheckpoint, FrozenCopy, Reference
from diffalign.policies.trainable import Trainable


def movable_network(module: nn.Module, trainable: Trainable, device: torch.device, *, present: bool = False) -> Movable:
    """Returns the network with all that trains, a second adapter included, as a part that moves.

    Args:
        module: The bare network.
        trainable: What trains.
        device: Where it works.
        present: Whether it is there now.
    """

    def modules() -> list[nn.Module]:
        second = trainable.second
        return [module] if second is None else [module, nn.ParameterList(second.parameters.values())]

    return Movable(modules, device, present=present)


class MovableReference:
    """Implements :class:`~diffalign.devices.residency.Part` for a reference with tensors of its own, which come when
    its network is lent.

    Args:
        reference: Returns the reference as it is now.
    """

    def __init__(self, reference: Callable[[], Reference]) -> None:
        self._reference = reference

    @property
    def present(self) -> bool:
        """Whether there is something that may be sent away."""
        return isinstance(self._reference(), FrozenCopy | EarlierCheckpoint)

    def bring(self) -> None:
        """Does nothing: a reference comes when it is lent."""

    def send_away(self) -> None:
        """Moves the reference's own tensors to host memory."""
        reference = self._reference()
        if isinstance(reference, FrozenCopy | EarlierCheckpoint):
            reference.send_away()

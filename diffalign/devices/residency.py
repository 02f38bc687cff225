"""What lies on a model's device at each stage of a run. One owner decides it; models name their parts.

    stage       on the device                                         beside
    encode      text encoders, autoencoder
    reference   network, reference
    sample      network, reference, text encoders, autoencoder        the optimizer's state
    judge       judges
    update      network, reference                                    gradients, the optimizer's state

At the border of a stage everything else goes to host memory; a part comes when it is first used. Where the device's
memory is the host's, a network has nowhere to go, and only encoders leave: they are dropped and loaded again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import torch

StageName = Literal["encode", "reference", "sample", "judge", "update"]

NETWORKS = ("network", "reference")
ENCODERS = ("text encoders", "autoencoder")
STAGES: Mapping[StageName, tuple[str, ...]] = {
    "encode": ENCODERS,
    "reference": NETWORKS,
    "sample": (*NETWORKS, *ENCODERS),
    "judge": ("judges",),
    "update": NETWORKS,
}
"""The parts that a stage holds."""


class Part(Protocol):
    """A part of a model that comes and goes as a whole."""

    @property
    def present(self) -> bool:
        """Whether it is on the device."""

    def bring(self) -> None:
        """Moves it there, if it is not."""

    def send_away(self) -> None:
        """Moves it to host memory, or drops it where it can be loaded again."""


def has_own_memory(device: torch.device) -> bool:
    """Whether a device's memory is another one than the host's."""
    return device.type not in ("cpu", "mps")


class Residency:
    """The owner of a model's parts.

    Args:
        device: Where they work.
        parts: The parts by their names in :data:`STAGES`; one may have several names.
        together: Every stage needs every part: encoders run at each step, for want of a cache.
    """

    def __init__(self, device: torch.device, parts: Mapping[str, Part], *, together: bool = False) -> None:
        self.device = device
        self.parts = dict(parts)
        self._together = together

    def holds(self, stage: StageName, own_memory: bool = True) -> tuple[str, ...]:
        """Returns the names of the parts that a stage holds, on a device with memory of its own or without."""
        if self._together:
            return tuple(self.parts)
        held = STAGES[stage] if own_memory else (*STAGES[stage], *NETWORKS)
        return tuple(name for name in self.parts if name in held)

    def enter(self, stage: StageName) -> None:
        """Sends away what a stage does not hold."""
        held = {id(self.parts[name]) for name in self.holds(stage)}
        for part in self.parts.values():
            if id(part) not in held and part.present:
                part.send_away()

    def bring(self, name: str) -> None:
        """Moves a part to the device, if it is not there."""
        if not self.parts[name].present:
            self.parts[name].bring()

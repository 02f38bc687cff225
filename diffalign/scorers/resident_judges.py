"""Judges as a part that is on the device only while samples are judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import nn

from diffalign.devices.movable import Movable
from diffalign.devices.residency import Residency
from diffalign.scorers.scorer import Scorer


def judges_residency(judges: Iterable[Scorer], device: torch.device) -> Residency:
    """Returns the owner of judges that were loaded on ``device``."""
    networks = list(networks_of(list(judges)))
    return Residency(device, {"judges": Movable(lambda: networks, device, present=True, unchanging=True)})


def networks_of(value: object, seen: set[int] | None = None) -> Iterator[nn.Module]:
    """Yields the networks that scorers hold in their attributes, and in those of the scorers that they are made of."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, Mapping):
        yield from networks_of(list(value.values()), seen)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from networks_of(item, seen)
    elif type(value).__module__.startswith("diffalign.") and hasattr(value, "__dict__"):
        yield from networks_of(list(vars(value).values()), seen)

"""A policy whose parts come and go at the borders of a run's stages."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from diffalign.devices.residency import Residency, StageName


@runtime_checkable
class SupportsStages(Protocol):
    """A policy that names its parts to the owner of its device's memory. It does not ask what fits."""

    residency: Residency


def enter_stage(policy: object, stage: StageName) -> None:
    """Sends away the parts of a policy that a stage does not hold, where it has such."""
    if isinstance(policy, SupportsStages):
        policy.residency.enter(stage)

"""Finds what to change in a run so that it fits: the cheapest changes first, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from diffalign.devices.plan.plan import Change, MemoryPlan
from diffalign.errors import ConfigError

Settings = TypeVar("Settings")

Step = tuple[Change, Settings]


def fit(
    settings: Settings,
    measure: Callable[[Settings], tuple[Settings, list[Change], MemoryPlan]],
    further: Callable[[Settings, MemoryPlan], Iterable[Step[Settings]]],
) -> tuple[Settings, MemoryPlan]:
    """Returns settings that fit, or the last ones tried, and their plan with all changes.

    Args:
        settings: What to begin with.
        measure: Returns the settings with the largest pieces that fit (or pieces of one example), what it changed for
            that, and the plan.
        further: Returns the changes that are still possible and may help a plan that does not fit, each with the
            settings that it leads to, cheapest first. One for which ``measure`` raises ConfigError is left out.
    """
    changes: list[Change] = []
    sized, pieces, plan = measure(settings)
    tried = True
    while not plan.fits and tried:
        tried = False
        for change, changed in further(settings, plan):
            try:
                sized, pieces, plan = measure(changed)
            except ConfigError:  # this model cannot be changed so
                continue
            settings, tried = changed, True
            changes.append(change)
            break
    return sized, replace(plan, changes=(*changes, *pieces))

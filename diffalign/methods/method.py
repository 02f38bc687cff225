"""A published method as a preset: a name, a source, and defaults for a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Method:
    """A preset. Its values are defaults; the values of the recipe take precedence.

    Args:
        name: The value of ``method`` in a recipe.
        summary: One line for the list of methods.
        source: Authors, year and where to read it.
        parts: The choice on each axis: ``pairs``, ``latents``, ``labels``, ``loss``.
        defaults: Recipe values, nested as in a YAML recipe.
        claims: Results that the source reports, with their section; not measured here.
        needs_reference: Whether the loss reads log-probabilities under the reference.
        text: The page that explains it: equation, hyperparameters, deviations.
    """

    name: str
    summary: str
    source: str
    parts: Mapping[str, str]
    defaults: Mapping[str, Any]
    claims: tuple[str, ...] = ()
    needs_reference: bool = True
    text: str = field(default="", repr=False)

    def explain(self) -> str:
        """Returns a page of plain text: summary, source, parts, defaults and claims."""
        lines = [f"{self.name}: {self.summary}", f"source: {self.source}", ""]
        if self.text:
            lines += [self.text.strip(), ""]
        lines += ["parts: " + ", ".join(f"{axis}={choice}" for axis, choice in self.parts.items()), "defaults:"]
        lines += [f"  {key}: {value}" for key, value in _flat(self.defaults)]
        lines += ["claims:", *(f"  - {claim}" for claim in self.claims)] if self.claims else []
        return "\n".join(lines)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return rows

"""The order of structures: one is stricter than another if its top is smaller and its bottom larger.

T1 within T2 and B2 within B1      =>      rho1 <= rho2 and loss1 >= loss2, whatever the probabilities
"""

from __future__ import annotations

from collections.abc import Mapping

from diffalign.losses.logic.named_forms import TABLE
from diffalign.losses.logic.structures import Structure


def stricter(one: Structure, other: Structure) -> bool:
    """Returns whether the first one's loss is never below the second one's, at one beta; False for equal structures,
    and for one with a reference and one without.
    """
    return one != other and one.count == other.count and one.top <= other.top and other.bottom <= one.bottom


def lattice(structures: Mapping[str, Structure] | None = None) -> list[tuple[str, str]]:
    """Returns the order relations ``(stricter, looser)`` by name, without those that follow from others.

    Args:
        structures: The structures by name; None: the named ones over the model only.
    """
    if structures is None:
        structures = {name: row.structure for name, row in TABLE.items() if row.structure.count == 2}
    above = {name: {n for n, other in structures.items() if stricter(one, other)} for name, one in structures.items()}
    return [
        (name, looser)
        for name, all_looser in above.items()
        for looser in structures
        if looser in all_looser and not any(looser in above[between] for between in all_looser)
    ]


def chains(edges: list[tuple[str, str]]) -> list[str]:
    """Returns the relations as lines ``A >= B >= C``, from the strictest to the loosest, each in at least one line."""
    following: dict[str, list[str]] = {}
    for one, other in edges:
        following.setdefault(one, []).append(other)
    starts = [name for name in following if name not in {other for _, other in edges}]

    def walks(name: str) -> list[list[str]]:
        return [[name, *walk] for other in following.get(name, []) for walk in walks(other)] or [[name]]

    lines: list[str] = []
    covered: set[tuple[str, str]] = set()
    for walk in (walk for start in starts for walk in walks(start)):
        steps = set(zip(walk, walk[1:], strict=False))
        if steps - covered:
            covered |= steps
            lines.append(" >= ".join(walk))
    return lines

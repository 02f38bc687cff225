"""A set of worlds as a tree of choices, proposition by proposition, each asked only where it matters.

A weight is read off the tree: ``p`` times the weight where the proposition is true plus ``1 - p`` times the one where
it is not. Since a proposition that does not matter is not asked, no ``1 - p`` is left where the weight is a product.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Choice:
    """A proposition that matters.

    Args:
        place: Which one it is.
        true: The tree where it is true; None: no world.
        false: The tree where it is not.
    """

    place: int
    true: Tree
    false: Tree


Tree = Choice | bool | None
"""A choice; True: every world; None: no world."""


@cache
def expansion(worlds: frozenset[str], place: int = 0) -> Tree:
    """The tree of worlds, given by their digits from ``place`` on."""
    if not worlds:
        return None
    if "" in worlds:
        return True
    true, false = (expansion(frozenset(w[1:] for w in worlds if w[0] == digit), place + 1) for digit in "10")
    return true if true == false else Choice(place, true, false)


def complements(tree: Tree) -> bool:
    """Whether the weight has a ``1 - p`` in it."""
    return isinstance(tree, Choice) and (tree.false is not None or complements(tree.true))

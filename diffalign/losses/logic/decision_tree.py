"""A set of worlds as a tree of choices, proposition by proposition, without those that make no difference.

The weight of a tree is ``p`` times the weight where the proposition is true plus ``1 - p`` times the one where it is
not. Without the propositions that make no difference, a weight that is a product has no ``1 - p``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Choice:
    """A proposition that makes a difference.

    Args:
        place: Its index.
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
    """Returns the tree of worlds, from their digits at ``place`` on."""
    if not worlds:
        return None
    if "" in worlds:
        return True
    true, false = (expansion(frozenset(w[1:] for w in worlds if w[0] == digit), place + 1) for digit in "10")
    return true if true == false else Choice(place, true, false)


def complements(tree: Tree) -> bool:
    """Returns whether the weight contains a ``1 - p``."""
    return isinstance(tree, Choice) and (tree.false is not None or complements(tree.true))

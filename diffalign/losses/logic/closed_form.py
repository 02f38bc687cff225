"""The weights of a structure as a formula: ``log [ p_w / (p_l (1 - p_w)) ]``."""

from __future__ import annotations

import re

from diffalign.losses.logic.decision_tree import Choice, Tree, complements, expansion
from diffalign.losses.logic.shortest_statement import worlds_over
from diffalign.losses.logic.structures import Structure

LETTERS = ("p_w", "p_l", "r_w", "r_l")
"""The probabilities of the propositions."""


def closed_form(structure: Structure) -> str:
    """Returns rho as text, in probabilities."""
    model_only = structure.without_reference
    worlds = (structure.top, structure.bottom) if model_only is None else (model_only.top, model_only.bottom)
    top, bottom = (weight(some, len(next(iter(some)))) for some in worlds)
    if model_only is not None and structure.count == 4:
        top, bottom = (f"{_inside(part)} {letter}" for part, letter in ((top, "r_l"), (bottom, "r_w")))
    return f"log [ {_inside(top)} / {bottom if bottom in LETTERS else f'({bottom})'} ]"


def weight(worlds: frozenset[str], count: int) -> str:
    """Returns the weight of worlds as text: directly, or as 1 minus the rest where that is shorter."""
    direct = _sum(expansion(worlds))
    rest = frozenset(worlds_over(count)) - worlds
    left = f"1 - {_product(expansion(rest))}" if rest else direct
    return min(left, direct, key=len)


def has_complement(structure: Structure) -> bool:
    """Returns whether rho contains a ``1 - p``, so that probabilities count themselves and not only their ratios."""
    return complements(expansion(structure.top)) or complements(expansion(structure.bottom))


def _inside(text: str) -> str:
    """Returns the text as a factor, in brackets if it is a sum."""
    return f"({text})" if re.search(r" [+-] ", re.sub(r"\([^()]*\)", "", text)) else text


def _sum(tree: Tree) -> str:
    if not isinstance(tree, Choice):
        return "1"
    letter = LETTERS[tree.place]
    terms = [_times(letter, tree.true)] if tree.true is not None else []
    if tree.false is not None:
        term = f"1 - {letter}" if tree.false is True else _times(f"(1 - {letter})", tree.false)
        terms.append(term)
    return " + ".join(terms)


def _times(factor: str, tree: Tree) -> str:
    return factor if tree is True else f"{factor} {_product(tree)}"


def _product(tree: Tree) -> str:
    return _inside(_sum(tree))

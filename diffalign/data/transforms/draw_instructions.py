"""Draws instructions that one answer follows and another one does not, out of a set of verifiable rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Literal

from diffalign.data.transforms.verifiable_instructions import Facts, Rule

Fits = Literal["some", "none"]
Instructions = list[tuple[Rule, Any]]
"""Rules with their arguments."""


def draw_contrast(
    own: Facts, other: Facts, rules: Sequence[Rule], random: Random, least: int, most: int, fits: Fits
) -> tuple[Instructions, Instructions] | None:
    """Returns instructions that ``own`` follows, and instructions of the same rules that ``other`` follows and ``own``
    does not.
    """

    def propose(rule: Rule) -> tuple[Any, Any] | None:
        arguments = rule.propose(own, other, random), rule.propose(other, own, random)
        if None in arguments or not (rule.holds(own, arguments[0]) and rule.holds(other, arguments[1])):
            return None
        return arguments

    drawn = _draw(
        rules, propose, lambda rule, arguments: not rule.holds(own, arguments[1]), random, least, most, fits == "none"
    )
    if drawn is None:
        return None
    return [(rule, first) for rule, (first, _) in drawn], [(rule, second) for rule, (_, second) in drawn]


def draw_distinguishing(
    own: Facts, other: Facts, rules: Sequence[Rule], random: Random, least: int, most: int
) -> Instructions | None:
    """Returns instructions that ``own`` follows, of which ``other`` does not follow all."""

    def propose(rule: Rule) -> Any:
        argument = rule.propose(own, other, random)
        return argument if argument is not None and rule.holds(own, argument) else None

    return _draw(rules, propose, lambda rule, a: not rule.holds(other, a), random, least, most, False)


def _draw(
    rules: Sequence[Rule],
    propose: Callable[[Rule], Any],
    distinguishes: Callable[[Rule, Any], bool],
    random: Random,
    least: int,
    most: int,
    only_distinguishing: bool,
) -> Instructions | None:
    """Draws rules with their arguments, of which at least one distinguishes the answers; None where there are too
    few.
    """
    order = list(rules)
    random.shuffle(order)
    distinguishing: dict[str, tuple[Rule, Any]] = {}
    shared: dict[str, tuple[Rule, Any]] = {}
    for rule in order:
        if rule.about in distinguishing or (argument := propose(rule)) is None:
            continue
        (distinguishing if distinguishes(rule, argument) else shared).setdefault(rule.about, (rule, argument))
    additional = [] if only_distinguishing else [s for about, s in shared.items() if about not in distinguishing]
    if not distinguishing or len(distinguishing) + len(additional) < least:
        return None
    first, *rest = distinguishing.values()
    pool = [*rest, *additional]
    random.shuffle(pool)
    instructions = [first, *pool[: random.randint(least, max(least, min(most, 1 + len(pool)))) - 1]]
    random.shuffle(instructions)
    return instructions

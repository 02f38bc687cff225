"""The shortest statement that is true in given worlds and in no others.

A truth table is a whole number here, one bit per world. Statements are built from short to long, the cheapest one of
each table kept: a mention of a proposition costs most, then ``not``, then the operators, the plainer the less.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, reduce
from itertools import product

from diffalign.losses.logic.formulas import FALSE, PROPOSITIONS, TRUE, Formula

LONGEST = 4
"""Mentions of propositions; what needs more is written as the list of its worlds."""
_NOT = 3
_COST = {"and": 1, "or": 1, "->": 2, "xor": 2, "iff": 2}

Kept = dict[int, tuple[int, Formula]]


def worlds_over(count: int) -> tuple[str, ...]:
    """Every world of so many propositions, from "11" to "00"."""
    return tuple("".join(digits) for digits in product("10", repeat=count))


@cache
def shortest(worlds: frozenset[str], count: int) -> Formula:
    """The shortest statement about the first ``count`` propositions that is true in these worlds alone."""
    every = worlds_over(count)
    wanted = _bits(worlds, every)
    for kept in _found(count):
        if wanted in kept:
            return kept[wanted][1]
    return _listed([_conjunction(world) for world in every if world in worlds])


@cache
def _found(count: int) -> tuple[Kept, ...]:
    """For 0, 1, ... mentions: table -> cost and statement, of the tables that fewer mentions do not reach."""
    every = worlds_over(count)
    whole = 2 ** len(every) - 1
    levels: list[Kept] = [{0: (0, FALSE), whole: (0, TRUE)}, {}]
    for place in range(count):
        _keep(levels, whole, _bits((w for w in every if w[place] == "1"), every), 0, Formula(PROPOSITIONS[place]))
    for length in range(2, LONGEST + 1):
        levels.append({})
        for first in range(1, length):
            for table, cost, statement in list(_joined(levels[first], levels[length - first], whole)):
                _keep(levels, whole, table, cost, statement)
    return tuple(levels)


def _joined(ones: Kept, others: Kept, whole: int) -> Iterator[tuple[int, int, Formula]]:
    for (a, (cost_a, one)), (b, (cost_b, other)) in product(ones.items(), others.items()):
        tables = {"and": a & b, "or": a | b, "->": (whole ^ a) | b, "xor": a ^ b, "iff": whole ^ a ^ b}
        for head, table in tables.items():
            yield table, cost_a + cost_b + _COST[head], Formula(head, (one, other))


def _keep(levels: list[Kept], whole: int, table: int, cost: int, statement: Formula) -> None:
    """Keeps a statement, and its negation, where nothing shorter says the same."""
    inner = statement.parts[0] if statement.head == "not" else Formula("not", (statement,))
    for bits, price, words in ((table, cost, statement), (whole ^ table, cost + _NOT, inner)):
        known = any(bits in kept for kept in levels[:-1])
        if not known and (bits not in levels[-1] or price < levels[-1][bits][0]):
            levels[-1][bits] = (price, words)


def _bits(worlds: Iterable[str], every: tuple[str, ...]) -> int:
    return sum(1 << every.index(world) for world in worlds)


def _conjunction(world: str) -> Formula:
    atoms = [Formula(name) for name in PROPOSITIONS[: len(world)]]
    literals = [atom if digit == "1" else Formula("not", (atom,)) for atom, digit in zip(atoms, world, strict=True)]
    return reduce(lambda one, other: Formula("and", (one, other)), literals)


def _listed(statements: list[Formula]) -> Formula:
    return reduce(lambda one, other: Formula("or", (one, other)), statements)

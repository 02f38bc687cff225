"""The shortest statement that is true in given worlds and in no others.

A truth table is an integer here, one bit per world. Statements are built from short to long, and the cheapest one of
each table is kept: an occurrence of a proposition costs most, then ``not``, then the operators, simple ones least.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache, reduce
from itertools import product

from diffalign.losses.logic.formulas import FALSE, PROPOSITIONS, TRUE, Formula

LONGEST = 4
"""Largest number of occurrences of propositions; longer statements are written as the list of their worlds."""
_NOT = 3
_COST = {"and": 1, "or": 1, "->": 2, "xor": 2, "iff": 2}

Statements = dict[int, tuple[int, Formula]]
"""Cost and statement by truth table."""


def worlds_over(count: int) -> tuple[str, ...]:
    """Returns every world of ``count`` propositions, from "11" to "00"."""
    return tuple("".join(digits) for digits in product("10", repeat=count))


@cache
def shortest(worlds: frozenset[str], count: int) -> Formula:
    """Returns the shortest statement about the first ``count`` propositions that is true in exactly these worlds."""
    every = worlds_over(count)
    bits = _bits(worlds, every)
    for level in _levels(count):
        if bits in level:
            return level[bits][1]
    return _listed([_conjunction(world) for world in every if world in worlds])


@cache
def _levels(count: int) -> tuple[Statements, ...]:
    """Returns for 0, 1, ... occurrences the cost and statement of each table that fewer do not reach."""
    every = worlds_over(count)
    whole = 2 ** len(every) - 1
    levels: list[Statements] = [{0: (0, FALSE), whole: (0, TRUE)}, {}]
    for place in range(count):
        _keep(levels, whole, _bits((w for w in every if w[place] == "1"), every), 0, Formula(PROPOSITIONS[place]))
    for length in range(2, LONGEST + 1):
        levels.append({})
        for first in range(1, length):
            for table, cost, statement in list(_joined(levels[first], levels[length - first], whole)):
                _keep(levels, whole, table, cost, statement)
    return tuple(levels)


def _joined(ones: Statements, others: Statements, whole: int) -> Iterator[tuple[int, int, Formula]]:
    for (a, (cost_a, one)), (b, (cost_b, other)) in product(ones.items(), others.items()):
        tables = {"and": a & b, "or": a | b, "->": (whole ^ a) | b, "xor": a ^ b, "iff": whole ^ a ^ b}
        for head, table in tables.items():
            yield table, cost_a + cost_b + _COST[head], Formula(head, (one, other))


def _keep(levels: list[Statements], whole: int, table: int, cost: int, statement: Formula) -> None:
    """Keeps a statement, and its negation, where no shorter one has the same table."""
    inner = statement.parts[0] if statement.head == "not" else Formula("not", (statement,))
    for bits, price, candidate in ((table, cost, statement), (whole ^ table, cost + _NOT, inner)):
        reached = any(bits in level for level in levels[:-1])
        if not reached and (bits not in levels[-1] or price < levels[-1][bits][0]):
            levels[-1][bits] = (price, candidate)


def _bits(worlds: Iterable[str], every: tuple[str, ...]) -> int:
    return sum(1 << every.index(world) for world in worlds)


def _conjunction(world: str) -> Formula:
    atoms = [Formula(name) for name in PROPOSITIONS[: len(world)]]
    literals = [atom if digit == "1" else Formula("not", (atom,)) for atom, digit in zip(atoms, world, strict=True)]
    return reduce(lambda one, other: Formula("and", (one, other)), literals)


def _listed(statements: list[Formula]) -> Formula:
    return reduce(lambda one, other: Formula("or", (one, other)), statements)

"""Structures: the worlds that count for a loss and those that count against it, as sets and as statements.

    top    = (P or P_A) and P_C           P    = the core: what should be true
    bottom = (not P or P_A) and P_C       P_C  = the constraint: where anything counts at all
                                          P_A  = the additive part: what counts on both sides

and back, from two sets of worlds: ``P_C = top or bottom``, ``P_A = top and bottom``, ``P = bottom -> top``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from diffalign.losses.logic.formulas import PROPOSITIONS, Formula, formula
from diffalign.losses.logic.shortest_statement import shortest, worlds_over

MARKS = {(True, False): "top", (False, True): "bottom", (True, True): "both", (False, False): ""}
"""Marks of a world: four, so that n propositions have ``4 ** (2 ** n)`` structures, 256 for a pair."""


@dataclass(frozen=True)
class Structure:
    """Two sets of worlds.

    Args:
        top: The worlds that count for the loss, as digits: {"11", "10"}.
        bottom: The worlds that count against it.

    Raises:
        ValueError: One of them is empty, so that rho would be infinite, or they have different propositions.
    """

    top: frozenset[str]
    bottom: frozenset[str]

    def __post_init__(self) -> None:
        for name, worlds in (("top", self.top), ("bottom", self.bottom)):
            if not worlds:
                raise ValueError(
                    f"the {name} of this structure is empty, so its loss would be infinite or zero for every model; "
                    "the core must be true in some allowed world and false in another. Loosen the constraint, or make "
                    "the core neither certain nor impossible"
                )
        if not (self.top | self.bottom <= set(worlds_over(2)) or self.top | self.bottom <= set(worlds_over(4))):
            raise ValueError(
                f"worlds are two digits (M_w M_l) or four (M_w M_l R_w R_l), the same for all; got "
                f"{', '.join(sorted(self.top | self.bottom))}"
            )

    @classmethod
    def of(cls, core: Formula, constraint: Formula, additive: Formula) -> Structure:
        """Returns the structure of three statements; over the reference too where one contains its propositions."""
        propositions = core.propositions | constraint.propositions | additive.propositions
        count = 4 if propositions & {"R_w", "R_l"} else 2
        p, p_c, p_a = (true_in(statement, count) for statement in (core, constraint, additive))
        return cls((p | p_a) & p_c, (frozenset(worlds_over(count)) - p | p_a) & p_c)

    @property
    def count(self) -> int:
        """The number of propositions: 2, or 4 with the reference's."""
        return len(next(iter(self.top)))

    @property
    def core(self) -> Formula:
        """P, the shortest statement for ``bottom -> top``."""
        every = frozenset(worlds_over(self.count))
        return shortest(every - self.bottom | self.top, self.count)

    @property
    def constraint(self) -> Formula:
        """P_C: the worlds that count at all."""
        return shortest(self.top | self.bottom, self.count)

    @property
    def additive(self) -> Formula:
        """P_A: the worlds that count on both sides."""
        return shortest(self.top & self.bottom, self.count)

    def mark(self, world: str) -> str:
        """Returns the mark of a world: "top", "bottom", "both" or ""."""
        return MARKS[world in self.top, world in self.bottom]

    @property
    def with_reference(self) -> Structure:
        """The same against a reference: ``top and R_l``, ``bottom and R_w``; rho is less by ``log r_w / r_l``."""
        if self.count == 4:
            return self
        top = {f"{world}{r_w}1" for world in self.top for r_w in "10"}
        return Structure(frozenset(top), frozenset(f"{world}1{r_l}" for world in self.bottom for r_l in "10"))

    @property
    def without_reference(self) -> Structure | None:
        """The structure over the model only whose `with_reference` is this one; None where there is none."""
        top, bottom = (frozenset(world[:2] for world in worlds) for worlds in (self.top, self.bottom))
        model_only = Structure(top, bottom)
        return model_only if self in (model_only, model_only.with_reference) else None

    @property
    def follows_the_label(self) -> bool:
        """Whether rho never falls with ``p_w`` and never rises with ``p_l``, whatever they are: each world stays in the
        top where ``M_w`` becomes true or ``M_l`` false, and in the bottom where the opposite happens.
        """

        def better(world: str) -> set[str]:
            return {f"1{world[1:]}", f"{world[0]}0{world[2:]}"}

        def worse(world: str) -> set[str]:
            return {f"0{world[1:]}", f"{world[0]}1{world[2:]}"}

        return all(better(w) <= self.top for w in self.top) and all(worse(w) <= self.bottom for w in self.bottom)

    def __str__(self) -> str:
        """Returns the three statements, as `parse.structure_of` parses them."""
        given = "" if self.constraint.head == "true" else f" given {self.constraint}"
        return f"{self.core}{given}" + ("" if self.additive.head == "false" else f" also {self.additive}")


def true_in(statement: Formula, count: int) -> frozenset[str]:
    """Returns the worlds of ``count`` propositions in which a statement is true."""
    names = PROPOSITIONS[:count]
    truths = {world: dict(zip(names, (digit == "1" for digit in world), strict=True)) for world in worlds_over(count)}
    return frozenset(world for world, truth in truths.items() if statement.holds(truth))


def worlds(text: str, count: int = 2) -> frozenset[str]:
    """Returns worlds from text: "11, 10", or a statement over ``count`` propositions. Raises ValueError for others."""
    digits = re.findall(r"[^\s,]+", text)
    if digits and all(re.fullmatch("[01]+", world) for world in digits):
        if wrong := [world for world in digits if len(world) not in (2, 4)]:
            raise ValueError(
                f"'{wrong[0]}' is no world: two digits are the truth values of M_w and M_l, four also of R_w and R_l; "
                "write for example '11,10'"
            )
        return frozenset(digits)
    return true_in(formula(text), count)

"""The forms that have a name: core, constraint and additive part as published.

Source: Richardson et al. 2024 (arXiv 2412.17696), the single-model forms and DPO.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from diffalign.losses.logic.formulas import formula
from diffalign.losses.logic.structures import Structure


@dataclass(frozen=True)
class Named:
    """A form with a name.

    Args:
        name: The paper's.
        core: P as text.
        constraint: P_C.
        additive: P_A.
        meaning: Its meaning in words.
    """

    name: str
    core: str
    constraint: str = "true"
    additive: str = "false"
    meaning: str = ""

    @cached_property
    def structure(self) -> Structure:
        """Its two sets of worlds."""
        return Structure.of(formula(self.core), formula(self.constraint), formula(self.additive))


_IF = "if the rejected answer is valid, the chosen one is"
_DPO = ("R_w and M_l", "M_w and R_l")
_ROWS = (
    Named("CE", "M_w", meaning="the chosen answer is valid: fine-tuning"),
    Named("CEUnl", "M_w and not M_l", meaning="the chosen answer is valid and the rejected one is not"),
    Named(
        "CPO", "M_l -> M_w", "M_w or M_l", "M_w and M_l", meaning=f"{_IF}; at least one is; both count on both sides"
    ),
    Named("ORPO", "M_l -> M_w", "M_w xor M_l", meaning=f"{_IF}; exactly one is"),
    Named("unCPO", "M_l -> M_w", meaning=f"{_IF}; nothing is ruled out"),
    Named("cCPO", "M_l -> M_w", "M_w or M_l", meaning=f"{_IF}; at least one is"),
    Named("cUnl", "M_w and not M_l", "M_w or M_l", meaning="only the chosen answer is valid; at least one is"),
    Named("fUnl", "not M_l", meaning="the rejected answer is not valid"),
    Named("qfUnl", "M_l -> M_w", "not (M_w and M_l)", meaning=f"{_IF}; not both are"),
    Named(
        "DPO",
        f"({_DPO[0]}) -> ({_DPO[1]})",
        f"({_DPO[0]}) or ({_DPO[1]})",
        "M_w and M_l and R_w and R_l",
        meaning="where model and reference disagree about which answer is the valid one, the model is right",
    ),
)
TABLE: Mapping[str, Named] = {row.name: row for row in _ROWS}
"""Every named form."""


def named(structure: Structure) -> Named | None:
    """Returns the row with this structure; None: it has no name."""
    return next((row for row in _ROWS if row.structure == structure), None)

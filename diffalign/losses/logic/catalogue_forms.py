"""Losses of the registry that have a form: the structures whose losses add up to each one.

A loss without a row here is no known function of the weights of worlds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """One structure of a loss: ``factor link(beta (rho - ahead))``.

    Args:
        form: Its name in the table.
        link: The loss of rho: "logistic", "hinge" or "squared".
        factor: The hyperparameters that it is multiplied by; none: 1.
        beta: Whether the loss's beta multiplies rho; the factor is 1 otherwise.
        ahead: The hyperparameter that replaces ``log r_w / r_l``, a constant reference; empty: none.
        mean: Whether p is of means over tokens, whatever the loss's ``per_token`` is.
    """

    form: str
    link: str = "logistic"
    factor: tuple[str, ...] = ()
    beta: bool = True
    ahead: str = ""
    mean: bool = False

    def __str__(self) -> str:
        parts = [f"{self.link} loss of {self.form}" + ("" if self.beta else " at beta 1")]
        parts += [f"times {' times '.join(self.factor)}"] * bool(self.factor)
        parts += [f"with a constant reference: log r_w / r_l = {self.ahead}"] * bool(self.ahead)
        return ", ".join([*parts, *["of means over tokens"] * self.mean])


@dataclass(frozen=True)
class Form:
    """The structures of a loss.

    Args:
        terms: Structures that add up to it.
        where: Values of its hyperparameters for which that holds.
    """

    terms: tuple[Term, ...]
    where: Mapping[str, float | bool]


def _form(*terms: Term, **where: float | bool) -> Form:
    return Form(terms, where)


FORMS: Mapping[str, Form] = {
    "logistic": _form(Term("DPO"), flip=0.0),
    "hinge": _form(Term("DPO", "hinge")),
    "ipo": _form(Term("DPO", "squared"), relative=False),
    "rpo": _form(
        Term("DPO"),
        Term("CE", factor=("eta", "beta"), beta=False),
        Term("CE", factor=("average",), beta=False, mean=True),
    ),
    "simpo": _form(Term("CPO", ahead="gamma_beta_ratio")),
    "cpo": _form(Term("CPO"), Term("CE", factor=("weight",), beta=False, mean=True), average=True),
    "orpo": _form(Term("CE", beta=False), Term("ORPO", factor=("weight",), beta=False)),
    "asft": _form(Term("CE", beta=False), Term("CE", factor=("lam",)), Term("fUnl", factor=("lam",)), sft_term=True),
    "sft": _form(Term("CE", factor=("scale",), beta=False)),
}
"""The form of each loss by its name in the registry."""
